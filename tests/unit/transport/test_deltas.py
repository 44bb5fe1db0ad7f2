"""Text between who writes it and who reads it, at whatever speeds."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from rolecall_server.errors import DeadlineError, EngineError
from rolecall_server.transport.deltas import MAX_PIECE_CHARS, reading


class Source:
    """Gives what is put in, a number as the output, until None; closed: whether it was closed or has ended."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[str | int | BaseException | None] = asyncio.Queue()
        self.closed = False

    async def stream(self) -> AsyncGenerator[str | int, None]:
        try:
            while (event := await self.events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            self.closed = True

    def put(self, *events: str | int | BaseException | None) -> None:
        for event in events:
            self.events.put_nowait(event)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_each_piece_comes_by_itself_where_the_reader_keeps_up() -> None:
    source = Source()
    seen = []
    async with reading(source.stream()) as deltas:
        source.put("a")
        async for piece in deltas.pieces():
            seen.append(piece)
            source.put("b" if piece == "a" else None)
            if piece == "b":
                source.put(7)
                source.put(None)
    assert seen == ["a", "b"]


async def test_what_came_while_nobody_read_is_one_piece() -> None:
    source = Source()
    source.put("a", "b", "c", 7, None)
    async with reading(source.stream()) as deltas:
        await settled()
        assert source.closed  # the writer never waited for a reader
        assert [piece async for piece in deltas.pieces()] == ["abc"]
    assert deltas.output() == 7


async def test_what_is_too_long_for_a_message_is_cut() -> None:
    source = Source()
    source.put("ab" * MAX_PIECE_CHARS, "c", 7, None)
    async with reading(source.stream()) as deltas:
        await settled()
        pieces = [piece async for piece in deltas.pieces()]
    assert [len(piece) for piece in pieces] == [MAX_PIECE_CHARS, MAX_PIECE_CHARS, 1]
    assert "".join(pieces) == "ab" * MAX_PIECE_CHARS + "c"


async def test_an_output_without_text_is_an_output() -> None:
    source = Source()
    source.put(7, None)
    async with reading(source.stream()) as deltas:
        assert [piece async for piece in deltas.pieces()] == []
    assert deltas.output() == 7


async def test_an_error_comes_after_the_text_before_it() -> None:
    source = Source()
    source.put("a", DeadlineError("too late"))
    seen = []
    with pytest.raises(DeadlineError):
        async with reading(source.stream()) as deltas:
            seen += [piece async for piece in deltas.pieces()]
    assert seen == ["a"]


async def test_a_text_that_ends_without_its_output_is_our_fault() -> None:
    source = Source()
    source.put("a", None)
    async with reading(source.stream()) as deltas:
        assert [piece async for piece in deltas.pieces()] == ["a"]
    with pytest.raises(EngineError):
        deltas.output()


async def test_the_source_is_closed_when_the_reader_leaves() -> None:
    source = Source()
    source.put("a")

    async def leave() -> None:
        async with reading(source.stream()) as deltas:
            async for _ in deltas.pieces():
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave()
    assert source.closed


async def test_the_source_is_closed_when_the_reader_is_cancelled() -> None:
    source = Source()

    async def read() -> None:
        async with reading(source.stream()) as deltas:
            async for _ in deltas.pieces():
                raise AssertionError

    task = asyncio.create_task(read())
    await settled()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert source.closed
