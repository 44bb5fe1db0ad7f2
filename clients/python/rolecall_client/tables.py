"""Answers as tables for a terminal and as JSON for programs."""

import sys
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rolecall.v1 import types_pb2

from rolecall_client.results import MatchResult, ModelInfo, ServerInfo

_PIPE_WIDTH = 120  # columns where no terminal tells its own
_ID_CELLS = 30
_LEAST_TITLE_CELLS = 12
_OTHER_CELLS = 4 + 8 + 13  # rank, score, borders


def make_console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def label_of(profile: types_pb2.Profile) -> str:
    """One line that tells a person which profile it is: a title, a headline, or the first line of its text."""
    match profile.WhichOneof("content"):
        case "job":
            return one_line(profile.job.title or profile.job.description)
        case "resume":
            return one_line(profile.resume.headline or profile.resume.summary)
        case "embedding":
            return "(embedding)"
    return one_line(profile.text)


def one_line(text: str) -> str:
    """The first line that says something, without the control characters that could steer a terminal."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return " ".join("".join(char if char.isprintable() else " " for char in first[:500]).split())


def ranking_table(
    title: str, result: MatchResult, documents: Sequence[types_pb2.Profile], *, width: int, limit: int = 0
) -> Table:
    """rank, score, id and title of each match; documents that failed stand last, with the reason.

    width: cells of the terminal, of which a Chinese character takes two; a title that does not fit is cut.
    limit: rows at most, 0 for all.
    """
    table = Table(title=Text(title, style="bold"), title_justify="left")
    id_cells = min(_ID_CELLS, max(6, *(cell_len(document.id) for document in documents)))
    # Widths are set: left to itself, rich gives a long Chinese title, in which it sees one word, all of the room.
    title_cells = max(_LEAST_TITLE_CELLS, width - id_cells - _OTHER_CELLS)
    table.add_column("rank", justify="right", width=4)
    table.add_column("score", justify="right", width=8)
    table.add_column("id", overflow="fold", width=id_cells)
    table.add_column("title", no_wrap=True, overflow="ellipsis", max_width=title_cells)
    for rank, match in enumerate(result.matches[: limit or None], start=1):
        document = documents[match.index]
        name = one_line(document.id) or f"#{match.index}"
        if match.error is None:
            table.add_row(str(rank), f"{match.score:.4f}", Text(name), Text(label_of(document)))
        else:
            table.add_row("-", "failed", Text(name), Text(one_line(str(match.error))), style="red")
    return table


def ranking_json(result: MatchResult, documents: Sequence[types_pb2.Profile]) -> dict[str, Any]:
    """The same as data; `rank` and `score` are null where a document failed, and `error` says why."""
    rows = [
        {
            "rank": rank if match.error is None else None,
            "score": match.score if match.error is None else None,
            "id": match.document_id,
            "index": match.index,
            "title": label_of(documents[match.index]),
            "error": None if match.error is None else {"code": match.error.code.name, "message": match.error.message},
        }
        for rank, match in enumerate(result.matches, start=1)
    ]
    model = {"name": result.model.name, "version": result.model.version, "precision": result.model.precision}
    return {"request_id": result.request_id, "model": model, "results": rows}


def info_tables(info: ServerInfo) -> tuple[Table, Table]:
    """Limits and models of a server."""
    limits = Table("limit", "value", title=f"Rolecall {info.version}, backend {info.backend}", title_justify="left")
    for name in info.limits.__dataclass_fields__:
        value = getattr(info.limits, name)
        limits.add_row(name, f"{value:,}" if value else "none")
    return limits, models_table(info.models)


def models_table(models: Sequence[ModelInfo]) -> Table:
    table = Table("model", "version", "family", "precision", "state", "dimensions", "window", "languages", "source")
    for model in models:
        languages = ", ".join(model.languages)
        if len(model.languages) > 6:
            languages = f"{', '.join(model.languages[:6])} and {len(model.languages) - 6} more"
        cells = (model.name, model.version, model.family, model.precision, model.state, str(model.dimensions))
        table.add_row(*(Text(cell) for cell in (*cells, str(model.max_tokens), languages, model.source)))
    return table
