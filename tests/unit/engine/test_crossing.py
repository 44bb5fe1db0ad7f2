import asyncio
import threading

from rolecall_server.engine.crossing import Crossing


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


async def test_calls_run_on_the_loop_in_their_order_and_share_a_wake_up(monkeypatch):
    loop = asyncio.get_running_loop()
    wake_ups, seen, done = [], [], asyncio.Event()
    wake = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *call: (wake_ups.append(call), wake(*call)))
    crossing = Crossing(loop)

    def many():
        for number in range(5):
            crossing.call(lambda number=number: seen.append((number, threading.get_ident())))
        crossing.call(done.set)

    in_thread(many)
    await asyncio.wait_for(done.wait(), 10)

    assert seen == [(number, threading.get_ident()) for number in range(5)]
    assert len(wake_ups) == 1
    in_thread(lambda: crossing.call(done.set))
    assert len(wake_ups) == 2


async def test_a_call_that_raises_keeps_back_no_other():
    errors, done = [], asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context["exception"]))
    crossing = Crossing(asyncio.get_running_loop())

    def two():
        crossing.call(lambda: 1 / 0)
        crossing.call(done.set)

    in_thread(two)
    await asyncio.wait_for(done.wait(), 10)

    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_after_the_end_of_the_loop_nothing_happens():
    loop = asyncio.new_event_loop()
    crossing = Crossing(loop)
    loop.close()
    in_thread(lambda: crossing.call(lambda: None))
