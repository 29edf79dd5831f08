"""ClockWatch: what the system's clock rests on, asked in a thread of its own; the reader only looks."""

import threading
from collections.abc import Callable

from opq_proto import log
from opq_proto.clock import ClockState, system_clock
from opq_proto.time_daemons import asked_clock

ASK_EACH_S = 16.0
"""A daemon polls its servers every 64 s at the soonest (NTP, RFC 5905)."""


class ClockWatch:
    """`state` from any thread; `run` in its own."""

    def __init__(self, ask: Callable[[], ClockState] = asked_clock, each_s: float = ASK_EACH_S) -> None:
        self._ask = ask
        self._each_s = each_s
        self._state = system_clock()  # the kernel's word until the daemons were asked

    def state(self) -> ClockState:
        """As last asked."""
        return self._state

    def run(self, stop: threading.Event) -> None:
        """Ask until `stop`; a change of source is told."""
        while not stop.is_set():
            before, self._state = self._state, self._ask()
            if before.source is not self._state.source:
                facts = {"source": self._state.source.name.lower()}
                log.get(service="gateway").info(
                    "clock.changed", **facts, uncertainty_ns=self._state.uncertainty_ns
                )
            stop.wait(self._each_s)
