"""An event beside sockets in one poll, also while threads set and clear it."""

import os
import select
import threading

import pytest

from opq_cloud.core.backend.waits import PollableEvent


def readable(event: PollableEvent) -> bool:
    return bool(select.select([event], [], [], 0)[0])


def test_its_descriptor_is_readable_while_it_is_set() -> None:
    event = PollableEvent()
    assert not readable(event) and not event.wait(0)
    for _ in range(2):
        event.set()
        event.set()
        assert readable(event) and event.is_set() and event.wait(0)
        event.clear()
        event.clear()
        assert not readable(event) and not event.is_set()


def test_a_set_event_ends_another_threads_poll() -> None:
    event, woken = PollableEvent(), threading.Event()
    poll = select.poll()
    poll.register(event)

    def wait() -> None:
        poll.poll()
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    event.set()
    thread.join(240)
    assert woken.is_set()


def test_threads_that_set_and_clear_leave_one_state() -> None:
    """Event and descriptor agree after any order of changes."""
    event = PollableEvent()

    def change() -> None:
        for _ in range(2000):
            event.set()
            event.clear()

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert not event.is_set() and not readable(event)
    event.set()
    assert readable(event)


def test_a_forgotten_event_closes_its_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    closed, close = list[int](), os.close

    def noted(descriptor: int) -> None:
        closed.append(descriptor)
        close(descriptor)

    monkeypatch.setattr(os, "close", noted)
    descriptor = PollableEvent().fileno()
    assert descriptor in closed
