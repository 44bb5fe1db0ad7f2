"""Which execution provider got each node of a graph, by ONNX Runtime's own record."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnxruntime as ort

RECORD_KEY = "session.record_ep_graph_assignment_info"
"""Session option, to be "1", without which a session keeps no record."""

# Arithmetic on shapes. ONNX Runtime puts it on the CPU on purpose, whatever the session is for: a few integers that
# the host needs anyway. Every provider has kernels for these types, so one of them on the CPU is never a lack.
_SHAPE_OPS = frozenset(
    (
        *("Shape", "Size", "ConstantOfShape", "Constant", "Range", "NonZero", "ReduceProd"),
        *("Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Reshape", "Expand", "Tile", "ScatterND"),
        *("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Cast", "Identity"),
        *("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Not", "Where"),
    )
)


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """provider: ONNX Runtime's name of it. name: as in the graph, often empty."""

    provider: str
    op_type: str
    name: str


@dataclass(frozen=True, slots=True)
class Placement:
    """All nodes of a session's graph, as partitioned: after basic optimisations, before the provider's own fusions."""

    wanted: str
    nodes: tuple[PlacedNode, ...]

    @property
    def provider(self) -> str:
        """The provider of most nodes, arithmetic on shapes left out."""
        counts = Counter(node.provider for node in (*self._on_wanted, *self.fallbacks))
        return max(counts, key=lambda name: (counts[name], name == self.wanted)) if counts else self.wanted

    @property
    def fallbacks(self) -> tuple[PlacedNode, ...]:
        """Nodes that the wanted provider did not take, less arithmetic on shapes."""
        return tuple(node for node in self.nodes if node.provider != self.wanted and node.op_type not in _SHAPE_OPS)

    @property
    def _on_wanted(self) -> tuple[PlacedNode, ...]:
        return tuple(node for node in self.nodes if node.provider == self.wanted)

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Nodes by provider and op type, most frequent first."""
        return {
            provider: count_ops(node for node in self.nodes if node.provider == provider)
            for provider, _ in Counter(node.provider for node in self.nodes).most_common()
        }


def count_ops(nodes: Iterable[PlacedNode]) -> dict[str, int]:
    """Nodes by op type, most frequent first."""
    return dict(Counter(node.op_type for node in nodes).most_common())


def read_placement(session: ort.InferenceSession, wanted: str) -> Placement:
    """The placement of a session made with RECORD_KEY; `wanted` is ONNX Runtime's name of its first provider."""
    nodes = tuple(
        PlacedNode(group.ep_name, node.op_type, node.name)
        for group in session.get_provider_graph_assignment_info()
        for node in group.get_nodes()
    )
    return Placement(wanted, nodes)
