from rolecall_server.engine.ort.placement import PlacedNode, Placement

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def placement(wanted, *nodes):
    return Placement(wanted, tuple(PlacedNode(provider, op, "") for provider, op in nodes))


def test_arithmetic_on_shapes_is_no_fallback():
    placed = placement(CUDA, (CUDA, "MatMul"), (CPU, "Shape"), (CPU, "Gather"), (CPU, "MatMulInteger"), (CUDA, "Add"))

    assert [node.op_type for node in placed.fallbacks] == ["MatMulInteger"]
    assert placed.provider == CUDA


def test_the_provider_is_that_of_most_nodes():
    assert placement(CUDA, (CUDA, "Add"), (CPU, "MatMulInteger"), (CPU, "MatMulInteger")).provider == CPU
    assert placement(CUDA, (CPU, "Shape"), (CUDA, "Add")).provider == CUDA
    assert placement(CUDA).provider == CUDA


def test_counts_are_by_provider_and_op_type_most_frequent_first():
    placed = placement(CUDA, (CPU, "Shape"), (CUDA, "Add"), (CUDA, "MatMul"), (CUDA, "MatMul"))

    assert list(placed.counts().items()) == [(CUDA, {"MatMul": 2, "Add": 1}), (CPU, {"Shape": 1})]
    assert list(placed.counts()[CUDA]) == ["MatMul", "Add"]
