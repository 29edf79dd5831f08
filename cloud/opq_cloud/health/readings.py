"""Readings of the documents with which services and gateways report their health. Pure but for its memory.

A document is the original's (docs/reference/opq-interop.md F.4). Ours have more in it: `received` of a Box,
`levels` (lengths of queues, descriptors) and `version`.
"""

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from opq_cloud.core.backend.peer_watch import NOBODY
from opq_cloud.core.service import STALE_S
from opq_cloud.core.service_conditions import (
    ENDED,
    FORGOTTEN_S,
    LONGEST_TURN_S,
    QUEUES,
    UPSTREAM,
    Reading,
    Verdict,
)
from opq_proto.errors import StoreError
from opq_proto.kit.system_verdict import VERDICT_NAMES, WHOLE_SYSTEM

Document = Mapping[str, Any]

BEHIND_GATEWAY = (*UPSTREAM, "acquisition-broker")
"""Without these services a gateway has no connection, or gets no acknowledgement."""
STORING = ("triggering-service", "makai")
"""It writes each second, so it fails first when the store fails."""
BINDING = ("triggering-broker", "acquisition-broker", "event-service", "mauka", "mauka.bus")
"""Other services connect to these, so a failure begins here."""
STEADY_S = 10.0
"""A Box that is late by the same amount for this time has a wrong clock; a Box that catches up is late by
less and less.
"""
ENDED_S = 60.0
"""What a service ended is counted over this time."""
NOT_BACK_S = STALE_S + 60.0
"""A Box that is well though nothing was heard for so long is one that may still come back after a start: the
longest window is a minute. Until that is known, what its gateway says of it is not judged."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a service about its health, or the reason why it has not answered."""

    name: str
    document: Document | None
    problem: str = ""
    asked_s: float = 0.0
    answered_s: float = 0.0
    """Wall time before and after the request; 0 for this process's own document."""
    is_gateway: bool = False
    is_late: bool = False
    """Whether the service exists and only its time limit ran out."""

    @property
    def clock_off_s(self) -> float | None:
        """The least offset between the clock of its machine and ours, because the time stamp has whole
        seconds.
        """
        if self.document is None or not self.asked_s:
            return None
        stamp_s = float(self.document.get("timestamp") or 0)
        return max(0.0, self.asked_s - stamp_s - 1, stamp_s - self.answered_s)


@dataclass(slots=True)
class AnswerReader:
    """Makes readings of answers.

    It remembers the parts of each service, because many are listed only while they are ill.
    """

    version: str
    _parts: dict[str, dict[str, float]] = field(default_factory=dict)
    """Service -> parts that it listed, each with the time when it was listed last (`now_s`)."""
    _boxes: dict[str, dict[str, str]] = field(default_factory=dict)
    """Gateway -> its Boxes, each with what it says of one that is not well."""
    _common: deque[tuple[float, float]] = field(default_factory=deque)
    _ended: dict[str, dict[tuple[str, str], deque[tuple[float, float]]]] = field(default_factory=dict)
    """Answer -> (part, name in ENDED) -> the totals of ENDED_S, each with its time (`now_s`)."""
    _read_s: tuple[float, float] | None = None
    """`now_s` and `wall_s` of the last readings."""
    _awake_s: float = -math.inf
    """Time at which this process, or its machine, continued after a pause."""

    def readings(
        self, answers: Sequence[Answer], without: Mapping[str, str], now_s: float, wall_s: float
    ) -> list[Reading]:
        """Returns the readings in the order of the judge: services, Boxes, and the readings that depend on
        them.

        Args:
            without: Box that is not expected to send -> why (`is retired here`).
            now_s: any clock that does not jump.
            wall_s: Unix time.
        """
        if self._read_s is not None:
            passed_s = max(now_s - self._read_s[0], wall_s - self._read_s[1])
            self._awake_s = now_s if passed_s > LONGEST_TURN_S else self._awake_s
        self._read_s = now_s, wall_s
        for answer in answers:
            if answer.is_gateway and answer.document is not None:
                self._boxes[answer.name] = {
                    name: "" if box.get("ok") is True else _info(box)
                    for name, box in _boxes_in(answer.document)
                }
        found = [each for answer in answers for each in self._services(answer, now_s)]
        clouds = [each for each in answers if not each.is_gateway and each.document is not None]
        boxes = {
            name: box for each in clouds for name, box in _boxes_in(each.document) if name not in without
        }
        may_hear = now_s - self._awake_s >= STALE_S
        found += [self._silence(name, box, wall_s, may_hear) for name, box in boxes.items()]
        found += self._box_clocks(boxes, now_s)
        not_back = {
            name
            for name, box in boxes.items()
            if box.get("ok") is True and wall_s - int(box.get("received") or wall_s) > NOT_BACK_S
        }
        for answer in answers:
            if answer.document is not None:
                found += self._levels(answer, answer.document, without)
                found += self._inflow(answer.name, answer.document, now_s)
                found += self._others(answer, answer.document, without, not_back)
        return found

    def _services(self, answer: Answer, now_s: float) -> Iterator[Reading]:
        """A part that is listed no more is well; the judge wants to read that for some time."""
        document = answer.document
        if document is None:
            yield Reading("hang" if answer.is_late else "service", answer.name, 1.0, answer.problem)
            return
        parts = {
            _part_name(answer.name, each): each
            for each in document.get("subcomponents") or ()
            if not _is_box(each)
        }
        own = parts.pop(_own_part(answer.name), document)
        inner = any(each.get("ok") is not True for each in document.get("subcomponents") or ())
        whole_ok = own.get("ok") is True or (own is document and inner)
        if answer.name != WHOLE_SYSTEM:
            yield _of_service(answer.name, whole_ok, _info(own))
        before = self._parts.get(answer.name, {})
        gone = {
            name: at_s for name, at_s in before.items() if now_s - at_s < FORGOTTEN_S and name not in parts
        }
        self._parts[answer.name] = gone | dict.fromkeys(parts, now_s)
        for name, part in parts.items():
            reading = _of_service(name, part.get("ok") is True, _info(part))
            yield replace(reading, note=str(part.get("note") or ""))
        for name in gone:
            yield Reading("service", name, 0.0)

    def _silence(self, name: str, box: Document, wall_s: float, may_hear: bool) -> Reading:
        """`may_hear`: whether this process has run for long enough to hear a Box that sends."""
        heard_s = int(box["timestamp"] if box.get("received") is None else box["received"])
        report = {"timestamp": int(box["timestamp"]), "received": heard_s}
        gateways = [each for each, boxes in self._boxes.items() if name in boxes]
        said = [] if box.get("ok") is True else [(each, self._boxes[each][name]) for each in gateways]
        info = "; ".join([_info(box), *(f"{each} says: {words}" for each, words in said if words)])
        value = max(0.0, wall_s - heard_s)
        if box.get("received") is not None:  # ours, which knows how often each Box sends
            value = 0.0 if box.get("ok") is True else max(value, STALE_S)
        known = value if may_hear or not value else None
        return Reading("silence", name, known, info, (*UPSTREAM, *gateways), report)

    def _box_clocks(self, boxes: Mapping[str, Document], now_s: float) -> Iterator[Reading]:
        """This machine's clock beside the Boxes', and each Box whose clock is ahead. A Box may be late
        because its gateway is slow; so its lateness shows no clock where a gateway names it."""
        late_s = {
            name: float(int(box["received"]) - int(box["timestamp"]))
            for name, box in boxes.items()
            if box.get("ok") is True and box.get("received") is not None
        }
        if not late_s:
            return
        known = set[str]().union(*self._boxes.values())
        apart = [late for name, late in late_s.items() if name not in known] or [0.0]
        common_s = min(apart) if min(apart) > 0 else min(0.0, max(late_s.values()))
        self._common.append((now_s, common_s))
        while now_s - self._common[0][0] > STEADY_S:
            self._common.popleft()
        values = [each for _, each in self._common]
        off_s = common_s if max(values) - min(values) <= 1 else 0.0
        info = f"this machine's clock is {abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} all Boxes"
        yield Reading("clock", "clock of the cloud", abs(off_s), info)
        for name, late in late_s.items():
            info = f"it sends, and what comes is {max(0.0, late):,.0f} s old by its own clock"
            yield Reading("late", f"time of Box {name}", max(0.0, late), info, (name,))
            ahead_s = max(0.0, min(0.0, common_s) - late)
            yield Reading("clock", f"clock of Box {name}", ahead_s, f"it is {ahead_s:.0f} s ahead", (name,))

    def _levels(self, answer: Answer, document: Document, without: Mapping[str, str]) -> Iterator[Reading]:
        """Queues: of each service, and the longest of a gateway's Boxes that are expected to send."""
        longest: dict[tuple[str, str], tuple[float, str]] = {}
        for owner in (document, *(document.get("subcomponents") or ())):
            if str(owner["name"]) in without:
                continue
            name, whose = (answer.name, f" of Box {owner['name']}") if _is_box(owner) else (owner["name"], "")
            for queue, level in (owner.get("levels") or {}).items():
                longest[name, queue] = max((level, whose), longest.get((name, queue), (0, whose)))
        for (name, queue), (level, whose) in longest.items():
            if queue in QUEUES:
                words = f"{queue.removesuffix('_now').replace('_', ' ')} of {name}"
                info = f"{level:g}{whose}, where {QUEUES[queue]:g} may wait"
                after = (*BEHIND_GATEWAY, whose.removeprefix(" of Box ")) if answer.is_gateway else ()
                yield Reading("queue", words, level / QUEUES[queue], info, after)
        levels = document.get("levels") or {}
        if levels.get("most_descriptors"):
            share = levels["open_descriptors"] / levels["most_descriptors"]
            yield Reading("descriptors", f"descriptors of {answer.name}", share, f"{share:.0%} are open")

    def _inflow(self, service: str, document: Document, now_s: float) -> Iterator[Reading]:
        """What each part ended within ENDED_S; a total that fell is that of a new start."""
        is_new = service not in self._ended
        before = self._ended.setdefault(service, {})
        now = {
            (str(part["name"]), counter): float(total)
            for part in document.get("subcomponents") or ()
            for counter, total in (part.get("levels") or {}).items()
            if counter in ENDED
        }
        for key in sorted(before.keys() | now.keys()):
            total = now.get(key, 0.0)
            totals = before.setdefault(key, deque() if is_new else deque([(now_s, 0.0)]))
            if totals and total < totals[-1][1]:
                totals.clear()
                totals.append((now_s, 0.0))
            totals.append((now_s, total))
            while now_s - totals[0][0] > ENDED_S:
                totals.popleft()
            ended = total - totals[0][1]
            yield Reading("inflow", f"{ENDED[key[1]]} of {key[0]}", ended, f"{ended:g} within a minute")

    def _others(
        self, answer: Answer, document: Document, without: Mapping[str, str], not_back: Collection[str]
    ) -> Iterator[Reading]:
        off_s = answer.clock_off_s
        if off_s is not None:
            compared = document.get("gps_comparison") or {}
            gps_s = abs(float(compared.get("system_clock_off_ns") or 0)) / 1e9
            info = f"off by {gps_s:.1f} s, by GPS" if gps_s > off_s else f"off by {off_s:.0f} s or more"
            yield Reading("clock", f"clock of {answer.name}", max(off_s, gps_s), info)
        theirs = document.get("version")
        if theirs:
            info = f"it has {theirs}, this cloud {self.version}"
            yield Reading("version", f"version of {answer.name}", float(not fits(theirs, self.version)), info)
        if answer.is_gateway:
            for name, box in _boxes_in(document):
                at_gateway = f"Box {name} at {answer.name}"
                if (why := without.get(name)) is not None:
                    note = f"Box {name} {why}, and its gateway still has it" if box.get("sampling") else ""
                    yield Reading("box_at_gateway", at_gateway, 0.0, note=note)
                    continue
                bad = None if name in not_back else float(box.get("ok") is not True)
                after, note = (*BEHIND_GATEWAY, name), str(box.get("note") or "")
                yield Reading("box_at_gateway", at_gateway, bad, _info(box), after, note=note)


def out_of_service(verdicts: Iterable[Verdict], without: Collection[str]) -> Iterator[Reading]:
    """What is ill of Boxes that are unplugged or retired now is well: nothing else is read of them."""
    for reading in (each.reading for each in verdicts if each.ill):
        if any(name in without for name in (reading.name, *reading.waits_for)):
            yield replace(reading, value=0.0, info="", waits_for=())


def _of_service(name: str, ok: bool, info: str) -> Reading:
    """A reading of a service or part that answered.

    One without its peer or the store waits for the verdict on that.
    """
    waits_for = BINDING if NOBODY in info else STORING if StoreError.__name__ in info else ()
    return Reading("service", name, float(not ok), info, tuple(each for each in waits_for if each != name))


def fits(theirs: str, ours: str) -> bool:
    """Whether two versions have the same first two numbers."""
    return theirs.split(".")[:2] == ours.split(".")[:2]


def flat(document: Document) -> Iterator[Document]:
    """Yields the document and all its parts, as the original's Health records them."""
    yield document
    for part in document.get("subcomponents") or ():
        yield from flat(part)


def _own_part(service: str) -> str:
    """The part of an answer that describes the service itself; some services have another name there."""
    return next((part for part, name in VERDICT_NAMES.items() if name == service != WHOLE_SYSTEM), service)


def _is_box(part: Document) -> bool:
    return str(part["name"]).isdigit()


def _boxes_in(document: Document | None) -> list[tuple[str, Document]]:
    parts = (document or {}).get("subcomponents") or ()
    return [(str(each["name"]), each) for each in parts if _is_box(each)]


def _part_name(service: str, part: Document) -> str:
    name = str(part["name"])
    is_own = name in (service, _own_part(service)) or name.startswith(f"{service}.")
    return name if is_own or service == WHOLE_SYSTEM else f"{name} of {service}"


def _info(part: Document) -> str:
    return str(part.get("info") or "")
