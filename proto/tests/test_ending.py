"""SIGTERM, SIGINT and SIGHUP set the stop event, also in the middle of its own locked moments."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from opq_proto.kit.ending import SIGNALS, end_at_signals, stopped_by_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_sets_the_event_and_restores_handlers(number: signal.Signals) -> None:
    outside = signal.getsignal(number)
    before = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL  # nohup ignores SIGHUP
    signal.signal(number, before)
    try:
        stop = threading.Event()
        with stopped_by_signals(stop):
            os.kill(os.getpid(), number)
            assert stop.wait(240)
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, outside)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals(threading.Event()):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("room", ["opq_cloud", "opq_gateway"])
def test_a_service_that_loads_ends_with_0(room: str) -> None:
    code = f"""
import os, signal, time
import opq_proto.kit.command_line as command_line, {room} as room
def load(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(240)
command_line.run_installed = load
room.main()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=240, check=False).returncode == 0


def test_a_second_signal_does_not_end_with_0() -> None:
    """It cuts short what follows the end that the first one asked for."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
    try:
        end_at_signals()
        with stopped_by_signals(threading.Event()):
            pass
        found = [signal.getsignal(number) for number in SIGNALS]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert found == [signal.SIG_DFL, signal.default_int_handler, signal.SIG_DFL]


def test_a_command_that_answers_ends_by_the_signal() -> None:
    code = """
import os, signal, time
from opq_proto.kit.ending import end_at_signals, signals_by_default
end_at_signals()
signals_by_default()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(240)
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=240, check=False)
    assert done.returncode == -signal.SIGTERM


def test_a_locked_event_does_not_block_the_signal() -> None:
    code = """
import os, signal, threading, time
from opq_proto.kit.ending import stopped_by_signals
stop = threading.Event()
with stopped_by_signals(stop):
    with stop._cond:  # as inside stop.wait() or stop.set()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
    assert stop.wait(240)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=240, check=False).returncode == 0


def test_other_threads_cannot_ask_for_it() -> None:
    caught: list[Exception] = []

    def other() -> None:
        try:
            with stopped_by_signals(threading.Event()):
                pass
        except ValueError as error:
            caught.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert len(caught) == 1
