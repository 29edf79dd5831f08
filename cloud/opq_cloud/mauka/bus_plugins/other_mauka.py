"""Whether another Mauka runs on this bus: plug-ins with names of ours send heartbeats from another process.

Two of them handle each message twice, and the original's plug-ins then store each incident two to four times.
Waveforms (`AdcSamples` and the other three topics) are published by one MakaiEventPlugin: the other's, while
it sends heartbeats. Separate from `plugin_heartbeats.py` because `payloads.py` reads it too.
"""

import time
from collections.abc import Callable

from opq_proto.kit import log as logs

log = logs.get(service="mauka")

GONE_S = 150.0
"""2.5 of the original's intervals without a heartbeat: it has ended."""
ADVICE = (
    "is on this bus too, so that each message is handled twice, and incidents are stored several times; give "
    "it a bus of its own (its zmq.mauka.broker and zmq.mauka.plugin addresses), or end its plug-ins "
    "(docs/mauka-running.md)"
)


class OtherMauka:
    """Written by the thread of StatusPlugin; read by any."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen_s: dict[str, float] = {}

    def note(self, plugin_name: str) -> None:
        """Notes a heartbeat from another process."""
        if not self.names():
            log.warning("bus.second_mauka", plugin=plugin_name, problem=f"another Mauka {ADVICE}")
        self._seen_s[plugin_name] = self._clock()

    def names(self) -> list[str]:
        """Returns the plug-ins of the other Mauka that are alive."""
        since_s = self._clock() - GONE_S
        return sorted(name for name, seen_s in self._seen_s.copy().items() if seen_s >= since_s)

    @property
    def problem(self) -> str | None:
        names = self.names()
        return f"another Mauka ({', '.join(names)}) {ADVICE}" if names else None
