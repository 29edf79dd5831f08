"""One's own thread runs from start to close, and once more; a call is repeated until it is closed."""

import queue
import threading

import pytest

from opq_proto.kit.own_thread import OwnThread, PeriodicCall

LONG_S = 60.0


class Waiting(OwnThread):
    """Notes that it runs, then waits to be stopped."""

    def __init__(self) -> None:
        super().__init__("waiting")
        self.runs: queue.Queue[str] = queue.Queue()

    def _run(self) -> None:
        self.runs.put(threading.current_thread().name)
        self._stop.wait(LONG_S)


def test_it_runs_for_a_block_and_once_more() -> None:
    thread = Waiting()
    assert not thread.alive
    for _ in range(2):
        with thread as entered:
            assert entered is thread and thread.runs.get(timeout=LONG_S) == "waiting" and thread.alive
        assert not thread.alive


def test_one_that_never_started_is_closed_at_once() -> None:
    Waiting().close()


def test_a_thread_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Waiting, "_join_s", 0.01)
    end = threading.Event()
    monkeypatch.setattr(Waiting, "_run", lambda self: end.wait(LONG_S))
    thread = Waiting()
    with thread:
        pass
    assert thread.alive
    end.set()


def test_a_call_is_repeated_until_it_is_closed() -> None:
    calls: queue.Queue[None] = queue.Queue()
    with PeriodicCall("calling", lambda: calls.put(None), 0.001):
        for _ in range(3):
            calls.get(timeout=LONG_S)


@pytest.mark.parametrize("at_once", [True, False])
def test_the_first_call_waits_by_default(at_once: bool) -> None:
    calls: queue.Queue[None] = queue.Queue()
    with PeriodicCall("calling", lambda: calls.put(None), LONG_S, at_once=at_once):
        if at_once:
            calls.get(timeout=LONG_S)
    assert calls.empty()


def test_an_exception_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: queue.Queue[object] = queue.Queue()
    monkeypatch.setattr(threading, "excepthook", lambda given: seen.put(given.exc_value))
    error = ValueError("no more")

    def fail() -> None:
        raise error

    with PeriodicCall("failing", fail, 0.001) as calling:
        assert seen.get(timeout=LONG_S) is error
        calling.close()
        assert not calling.alive
