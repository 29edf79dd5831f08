"""MqttTopics: the newest values of the Boxes, to be published; without a socket, clocks are handed in.

    <topic>/<gateway>/status                    online, offline (by the broker's will when we cannot)
    <topic>/<gateway>/box3/status               online while the Box samples
    <topic>/<gateway>/box3/measured             measured share of the last hour and day, JSON
    <topic>/<gateway>/box3/3s 10s 10min 2h      the newest values of that kind, JSON
    <topic>/<gateway>/box3/10min_flicker ...    Pst, Plt
    <topic>/<gateway>/box3/disturbance          the last dip, swell, interruption, and whether any lasts, JSON
    <topic>/<gateway>/group_<name>/3s ...       unbalance of a group of three

All are retained, so that a late subscriber gets them at once. States and disturbances have QoS 1. Values of 3
s and 10 s have QoS 0, because the next ones come soon.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measured_shares import SPANS, MeasuredShares
from opq_gateway.measuring.feed import DisturbanceNotice, Item, Values
from opq_proto.messages import known_uncertainty_ns

MAX_DISTURBANCES = 200
"""Most disturbances that wait for an absent broker; beyond it the oldest are dropped and counted."""
SILENT_S = 5.0
"""A Box without samples for this long is offline."""
FLICKER = frozenset(("pst", "pinst_max", "plt"))
SHORT_SHARES = ("3s", "10s")
SHARES_S = 30.0
"""Measured shares are published at most this often, and only changed ones."""
ONLINE = b"online"
"""Payloads of availability that Home Assistant expects if nothing else is configured."""
OFFLINE = b"offline"


@dataclass(frozen=True, slots=True)
class MqttMessage:
    """A message to publish; all are retained."""

    topic: str
    payload: bytes
    qos: int = 1


@dataclass(slots=True)
class _Newest:
    values: Values
    waits: bool = False
    """Whether it has to be published."""
    given: Values | None = None
    """The values that `due` returned last."""
    published_s: float = -math.inf


class MqttTopics:
    """The newest values per topic. `base` is `<topic>/<gateway>`.

    Attributes:
        dropped: items lost while the broker was away: values that newer ones replaced, disturbances beyond
            MAX_DISTURBANCES.
    """

    def __init__(
        self, base: str, boxes: Mapping[str, BoxStatus], every_s: float, shares: MeasuredShares
    ) -> None:
        self.base = base
        self.dropped = 0
        self._boxes = boxes
        self._every_s = every_s
        self._newest: dict[str, _Newest] = {}
        self._disturbances: deque[MqttMessage] = deque()
        self._last: dict[str, MqttMessage] = {}
        self._ongoing: dict[str, set[str]] = {}
        self._statuses: dict[str, bytes] = {}
        """Topic -> value at the broker, for topics that are published only when they change."""
        self._shares = shares
        self._shares_due_s = -math.inf
        self._measured: list[MqttMessage] = []

    def accept_items(self, items: Iterable[Item], connected: bool) -> None:
        """Takes items from the feed."""
        for item in items:
            if isinstance(item, DisturbanceNotice):
                self._accept_notice(item)
            elif isinstance(item, Values) and item.kind != "window":
                self._accept_values(item, connected)

    def _accept_values(self, values: Values, connected: bool) -> None:
        topic = f"{self.base}/{self._place(values.box_id)}/{_suffix(values)}"
        newest = self._newest.setdefault(topic, _Newest(values))
        if newest.waits and not connected:
            self.dropped += 1
        newest.values, newest.waits = values, True

    def _accept_notice(self, notice: DisturbanceNotice) -> None:
        message = self._disturbance(notice)
        self._last[message.topic] = message
        self._disturbances.append(message)
        if len(self._disturbances) > MAX_DISTURBANCES:
            self._disturbances.popleft()
            self.dropped += 1

    def repeat_all(self) -> None:
        """Publishes everything again, for a broker that has lost it."""
        self._statuses.clear()
        waiting = {message.topic for message in self._disturbances}
        self._disturbances.extend(message for topic, message in self._last.items() if topic not in waiting)
        for newest in self._newest.values():
            newest.waits, newest.published_s = True, -math.inf

    def due(self, now_s: float) -> list[MqttMessage]:
        """The messages to publish now; each is due again unless `published` confirms it."""
        messages = [
            message
            for box_id, status in self._boxes.items()
            if (message := self._status(box_id, status, now_s)) is not None
        ]
        if now_s >= self._shares_due_s:
            self._shares_due_s = now_s + SHARES_S
            self._measured = [self._share(box_id) for box_id in self._boxes]
        messages += [each for each in self._measured if self._statuses.get(each.topic) != each.payload]
        messages += self._disturbances
        for topic, newest in self._newest.items():
            if newest.waits and now_s - newest.published_s >= self._every_s:
                newest.given = newest.values
                messages.append(MqttMessage(topic, _payload(newest.values), _qos(newest.values)))
        return messages

    def published(self, message: MqttMessage, now_s: float) -> None:
        """Records that the broker has the message."""
        newest = self._newest.get(message.topic)
        if newest is not None:
            newest.published_s = now_s
            newest.waits = newest.values is not newest.given
        elif self._disturbances and self._disturbances[0] is message:
            self._disturbances.popleft()
        elif message.payload in (ONLINE, OFFLINE) or message in self._measured:
            self._statuses[message.topic] = message.payload

    def _status(self, box_id: str, status: BoxStatus, now_s: float) -> MqttMessage | None:
        seen_s = status.sample_monotonic_s
        payload = ONLINE if seen_s is not None and now_s - seen_s < SILENT_S else OFFLINE
        topic = f"{self.base}/{self._place(box_id)}/status"
        return None if self._statuses.get(topic) == payload else MqttMessage(topic, payload)

    def _share(self, box_id: str) -> MqttMessage:
        """The measured shares, rounded down; unknown ones are absent."""
        found = {span: self._shares.share(box_id, span) for span in SPANS}
        facts = {span: math.floor(share * 1e4) / 1e4 for span, share in found.items() if share is not None}
        return MqttMessage(f"{self.base}/{self._place(box_id)}/measured", msgspec.json.encode(facts))

    def _disturbance(self, notice: DisturbanceNotice) -> MqttMessage:
        ongoing = self._ongoing.setdefault(notice.box_id, set())
        if notice.entering:
            ongoing.add(notice.kind)
        else:
            ongoing.discard(notice.kind)
        facts = {
            "kind": notice.kind,
            "entering": notice.entering,
            "ongoing": sorted(ongoing),
            "time": _iso(notice.t_ns),
            "t_ns": notice.t_ns,
            "uncertainty_ns": known_uncertainty_ns(notice.uncertainty_ns),
            "source": notice.source.name.lower(),
        }
        if notice.rms_v is not None and math.isfinite(notice.rms_v):
            facts["rms_v"] = notice.rms_v
        return MqttMessage(
            f"{self.base}/{self._place(notice.box_id)}/disturbance", msgspec.json.encode(facts)
        )

    def _place(self, box_id: str) -> str:
        return place(box_id, box_id in self._boxes)


def place(box_id: str, is_box: bool) -> str:
    """Level of the topic for a Box, or for a group of three by its name."""
    return f"box{box_id}" if is_box else f"group_{box_id}"


def _suffix(values: Values) -> str:
    """Last level of the topic; flicker has another one, because its intervals may come at other times."""
    return f"{values.kind}_flicker" if FLICKER & values.values.keys() else values.kind


def _qos(values: Values) -> int:
    return 0 if values.kind in SHORT_SHARES else 1


def _payload(values: Values) -> bytes:
    """JSON; names and units as measured; unknown values are absent."""
    facts: dict[str, object] = {
        "time": _iso(values.end_ns),
        "start_ns": values.start_ns,
        "end_ns": values.end_ns,
        "uncertainty_ns": known_uncertainty_ns(values.uncertainty_ns),
        "source": values.source.name.lower(),
        "flagged": values.flagged,
    }
    for name, value in values.values.items():
        if isinstance(value, tuple) or math.isfinite(value):
            facts[name] = value
    return msgspec.json.encode(facts)


def _iso(t_ns: int) -> str:
    return datetime.fromtimestamp(t_ns // 1_000_000 / 1000, UTC).isoformat(timespec="milliseconds")
