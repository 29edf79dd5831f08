"""PrintPlugin: logs a line for each message on the bus; the original's plug-in of this name prints it.

It is off until it is started (`opq-tools mauka start-plugin PrintPlugin`), and short: only the
subscription differs from the base. It logs at most 20 lines a second, and counts the rest.
"""

import time
from collections.abc import Callable

from google.protobuf.json_format import MessageToJson

from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_proto.kit import log as logs
from opq_proto.kit.rate_limit import TokenBuckets
from opq_proto.wire.mauka_pb2 import MaukaMessage

log = logs.get(service="mauka")

LINES_PER_S = 20
LONGEST_TEXT = 500
"""Limit in characters of a message: a waveform has a million."""
LARGEST_BYTES = 10_000
"""Larger messages are logged with their size only."""


class PrintPlugin(MaukaPlugin):
    """Counters: `printed`, `not_printed`, and the base's."""

    NAME = "PrintPlugin"

    def __init__(self, config: PluginConfig, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(config, [""], PrintPlugin.NAME)
        self.hold()
        self._lines = TokenBuckets(LINES_PER_S, LINES_PER_S, 1, clock)

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        """Logs topic, source, kind, and the beginning of the message as JSON."""
        if not self._lines.spend(""):
            self.counters.add("not_printed")
            return
        size = mauka_message.ByteSize()
        text = f"{size} bytes"
        if size <= LARGEST_BYTES:
            text = MessageToJson(mauka_message, indent=None)[:LONGEST_TEXT]
        self.counters.add("printed")
        log.info(
            "bus.message",
            topic=topic,
            source=mauka_message.source,
            kind=mauka_message.WhichOneof("message"),
            message=text,
        )
