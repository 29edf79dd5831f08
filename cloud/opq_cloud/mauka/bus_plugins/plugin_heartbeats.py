"""The plug-ins that are alive on the bus, by the last heartbeat of each, of the original's form or ours.

Source: docs/reference/opq-interop.md F.4 (`/status`), E.2 (the heartbeat's JSON). Unlike in the original, a
plug-in whose heartbeats stop, that hangs or whose work fails is not ok (docs/reference/opq-interop.md H.25,
H.26).
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from opq_cloud.core.service import HealthReport
from opq_cloud.mauka.bus.bus_messages import HEARTBEAT, PROCESS
from opq_cloud.mauka.bus_plugins.other_mauka import OtherMauka
from opq_cloud.mauka.plugin import CRASHED, DEFAULTS, HEARTBEAT_KEY, STOPPED, MaukaPlugin, PluginConfig
from opq_proto.errors import FrameError
from opq_proto.measurement.fields import MOST_NUMBER
from opq_proto.measurement.invariants import is_name
from opq_proto.visible_text import visible
from opq_proto.wire.mauka_pb2 import MaukaMessage

MAX_PLUGINS = 256
"""Largest number kept, so that made-up names cannot fill the memory."""

MAX_STATUS_CHARACTERS = 1 << 20
"""Longest status of a heartbeat."""
MAX_ERROR = 500
"""Letters of an error that are shown."""
MISSED_HEARTBEATS = 2.5
HANGS_S = 60.0
GRACE_S = 10.0
"""Time after our start within which an expected plug-in must have sent a heartbeat."""


@dataclass(frozen=True, slots=True)
class PluginHeartbeat:
    """The last heartbeat of one plug-in."""

    plugin_name: str
    received_s: float
    """Arrival by our monotonic clock."""
    timestamp_ms: int
    last_recv_ms: int
    plugin_state: str
    status: Mapping[str, object]

    @property
    def is_of_another_process(self) -> bool:
        return self.status.get("process") != PROCESS

    def number(self, key: str, default: float) -> float:
        """Returns a number in its JSON, up to MOST_NUMBER; anything else counts as `default`."""
        value = self.status.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= MOST_NUMBER:
            return default
        return value

    def row(self) -> dict[str, object]:
        """Its row of the original's `/status`; for the runner with `analyses` and, if any, `workers`."""
        more = {key: self.status[key] for key in ("analyses", "processes", "workers") if key in self.status}
        return {
            "plugin_name": self.plugin_name,
            "messages_recv": int(self.number("messages_received", 0)),
            "bytes_recv": int(self.number("bytes_received", 0)),
            "last_recv": self.last_recv_ms,
            "plugin_state": self.plugin_state,
            **more,
        }

    def trouble(self, now_s: float) -> str | None:
        """Returns why it is not ok; None when it is."""
        silent_s = now_s - self.received_s
        if self.plugin_state == CRASHED:
            return "its loop crashed"
        if self.plugin_state == STOPPED:
            return "it was stopped"
        if silent_s > MISSED_HEARTBEATS * self.number("interval_s", DEFAULTS[HEARTBEAT_KEY]):
            return f"no heartbeat for {silent_s:.0f} s"
        if self.number("busy_s", 0) > HANGS_S:
            return f"busy with one message for {self.number('busy_s', 0):.0f} s"
        error = self.status.get("last_error")
        return None if error is None else visible(str(error)[:MAX_ERROR])


def read_heartbeat(message: MaukaMessage, received_s: float) -> tuple[PluginHeartbeat, bool]:
    """Returns the heartbeat of a message, and whether its status is JSON; otherwise the status is empty.

    Raises:
        FrameError: the message holds no heartbeat, or one of a state that is not a name.
    """
    beat = message.heartbeat
    if message.WhichOneof("message") != "heartbeat" or (beat.plugin_state and not is_name(beat.plugin_state)):
        raise FrameError(f"a message of {message.source[:80]!r} without a heartbeat")
    status, is_json = {}, len(beat.status) <= MAX_STATUS_CHARACTERS
    try:
        status = msgspec.json.decode((beat.status if is_json else "") or "{}")
    except (msgspec.MsgspecError, RecursionError):
        is_json = False
    return PluginHeartbeat(
        message.source,
        received_s,
        message.timestamp_ms,
        beat.last_received_timestamp_ms,
        beat.plugin_state,
        status if isinstance(status, dict) else {},
    ), is_json


class StatusPlugin(MaukaPlugin):
    """Receives `heartbeat`; `expected` are the plug-ins that must send one."""

    NAME = "StatusPlugin"

    def __init__(
        self,
        config: PluginConfig,
        expected: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
        other: OtherMauka | None = None,
    ) -> None:
        super().__init__(config, [HEARTBEAT], StatusPlugin.NAME)
        self._clock = clock
        self._started_s = clock()
        self._expected = tuple(expected)
        self._heartbeats: dict[str, PluginHeartbeat] = {}
        self._other = other or OtherMauka(clock)

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        try:
            heartbeat, is_json = read_heartbeat(mauka_message, self._clock())
        except FrameError:
            self.counters.add("malformed")
            return
        if not is_json:
            self.counters.add("malformed")
        if heartbeat.plugin_name in (*self._expected, self.name) and heartbeat.is_of_another_process:
            self._other.note(heartbeat.plugin_name)
            return
        self._heartbeats.pop(heartbeat.plugin_name, None)
        if heartbeat.plugin_state == STOPPED and heartbeat.plugin_name not in self._expected:
            return  # it was stopped on purpose
        self._heartbeats[heartbeat.plugin_name] = heartbeat
        if len(self._heartbeats) > MAX_PLUGINS:
            del self._heartbeats[next(iter(self._heartbeats))]

    def plugin_status(self) -> list[Mapping[str, object]]:
        """Returns the rows of `/status`, by name."""
        heartbeats = self._heartbeats.copy()
        return [heartbeats[name].row() for name in sorted(heartbeats)]

    def health(self) -> list[HealthReport]:
        """Returns one component per plug-in that sent a heartbeat or is expected.

        The timestamp of a healthy one is now, when it was judged (the original's HealthReport calls a
        component down 20 s after its timestamp, and heartbeats may be rarer); otherwise its heartbeat's.
        """
        now_s = self._clock()
        heartbeats = self._heartbeats.copy()
        parts = []
        if (problem := self._other.problem) is not None:
            parts.append(HealthReport("second Mauka", False, info=problem))
        for name in sorted(heartbeats):
            trouble = heartbeats[name].trouble(now_s)
            last_s = int(time.time()) if trouble is None else heartbeats[name].timestamp_ms // 1000
            parts.append(HealthReport(name, trouble is None, last_s, trouble))
        for name in self._expected:
            if name not in heartbeats and now_s - self._started_s > GRACE_S:
                parts.append(HealthReport(name, False, info="sent nothing on the bus yet"))
        return parts
