"""Follows one disturbance through the whole system by the log lines of the services.

Each service stamps its lines with the machine's monotonic clock, so that the stages of different
processes can be subtracted: t0 the first sample below the threshold leaves the Box, t1 its
Measurement reaches the triggering broker, t2 the trigger is decided, t3 the last waveform is
stored, t4 the incident is stored, t5 the page's live feed delivers it. Waveforms that an analysis
requests later are stored after t4 and not counted.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from opq_cloud.view.pages.machine_notice import standstill_words
from opq_cloud.view.web.words import class_phrase
from opq_proto.time_units import NS_PER_MS
from opq_tools.up.children import ChildLine

Key = TypeVar("Key")
Value = TypeVar("Value")

KEPT_RECORDS = 4096
"""Number of Measurements and of events that are kept; older ones are dropped."""
LATENCIES = (
    "sample_to_measurement",
    "measurement_to_trigger",
    "trigger_to_waveform",
    "waveform_to_incident",
    "incident_to_page",
)
WAVEFORMS_KEPT = 1024
"""Number of an event's newest moments that are kept."""
STOOD_STILL_S = 2.0
"""A standstill of the gateway that is reported; what a Box sent in a shorter one has mostly waited."""


@dataclass(frozen=True, slots=True)
class SeenIncident:
    """An incident that reached the page, with its moments t0 to t5 (None: not seen)."""

    incident: Mapping[str, Any]
    event_ids: tuple[int, ...]
    moments_ns: tuple[int | None, ...]

    @property
    def complete(self) -> bool:
        return None not in self.moments_ns

    def latency_ms(self) -> dict[str, float | None]:
        """The five differences and their sum, in ms."""
        found: dict[str, float | None] = {}
        for name, start, end in zip(LATENCIES, self.moments_ns, self.moments_ns[1:], strict=False):
            found[name] = None if start is None or end is None else (end - start) / NS_PER_MS
        first, last = self.moments_ns[0], self.moments_ns[-1]
        found["total"] = None if first is None or last is None else (last - first) / NS_PER_MS
        return found


class Newest(OrderedDict[Key, Value]):
    """Keeps the newest KEPT entries, because a system may run for years."""

    def put(self, key: Key, value: Value) -> None:
        self[key] = value
        if len(self) > KEPT_RECORDS:
            self.popitem(last=False)


class IncidentTrace:
    """Collects the moments; `seen(...)` joins those of an incident on the page."""

    def __init__(self) -> None:
        self._sent: dict[str, list[int]] = {}
        self._received: Newest[tuple[str, object], int] = Newest()
        self._decided: Newest[int, tuple[str, object, int]] = Newest()
        self._waveforms: Newest[object, tuple[int, ...]] = Newest()
        self._incidents: Newest[int, tuple[tuple[int, ...], int]] = Newest()

    def read_line(self, line: ChildLine) -> None:
        """Notes the moment that a log line reports; ignores lines of other kinds."""
        facts = line.facts
        moment = facts.get("monotonic_ns")
        if not isinstance(moment, int):
            return
        match facts.get("event"):
            case "box.event_sent":
                sent = self._sent.setdefault(str(facts.get("box_id")), [])
                sent.append(moment)
                del sent[:-KEPT_RECORDS]
            case "measurement.received":
                self._received.put((str(facts.get("box_id")), facts.get("sequence")), moment)
            case "trigger.decided":
                event_id = facts.get("event_id")
                if isinstance(event_id, int):
                    self._decided.put(event_id, (str(facts.get("box_id")), facts.get("sequence"), moment))
            case "event.waveform_stored":
                event = facts.get("event_id")
                self._waveforms.put(event, (*self._waveforms.get(event, ()), moment)[-WAVEFORMS_KEPT:])
            case "incident.stored":
                incident_id = facts.get("incident_id")
                if isinstance(incident_id, int) and incident_id not in self._incidents:
                    self._incidents.put(incident_id, (tuple(facts.get("event_ids") or ()), moment))

    def seen(self, incident: Mapping[str, Any], page_ns: int) -> SeenIncident | None:
        """The moments of an incident on the page; None while no trigger of this run led to it."""
        events, stored = self._incidents.get(int(incident["id"]), ((), None))
        event_id = next((event for event in events if event in self._decided), None)
        if event_id is None:
            return None
        box_id, sequence, decided = self._decided[event_id]
        received = self._received.get((box_id, sequence))
        sent = [moment for moment in self._sent.get(box_id, []) if received is None or moment <= received]
        moments = (
            sent[-1] if sent else None,
            received,
            decided,
            max(
                (at for at in self._waveforms.get(event_id, ()) if stored is None or at <= stored),
                default=None,
            ),
            stored,
            page_ns,
        )
        return SeenIncident(incident, events, moments)


def stage_line(line: ChildLine) -> tuple[str, str] | None:
    """(who, what) for the terminal where a log line reports a stage; None for other lines."""
    facts = line.facts
    box = f"Box {facts.get('box_id')}"
    match facts.get("event"):
        case "box.started":
            port = facts.get("port")  # absent: the Box itself reports a reset
            return box, f"on {port}" if port else "has started again"
        case "box.sampling":
            return "gateway", f"{box} is sampling"
        case "gateway.stalled":
            seconds = facts.get("seconds")
            if not isinstance(seconds, int | float) or seconds < STOOD_STILL_S:
                return None
            return "gateway", standstill_words(seconds)
        case "box.event_sent":
            return box, "the voltage leaves its limits (first such sample sent)"
        case "trigger.decided":
            box_words = ", ".join(map(str, facts.get("boxes") or ()))
            whom = f"; asking Boxes {box_words}" if box_words else ""
            return "makai", f"trigger: {facts.get('because')}{whom}"
        case "trigger.completes":
            box_words = ", ".join(map(str, facts.get("boxes") or ()))
            return "makai", f"trigger: {facts.get('because')}; asking Boxes {box_words}"
        case "event.waveform_stored":
            return (
                "makai",
                f"waveform of {box} stored: event {facts.get('event_id')}, {facts.get('samples')} samples",
            )
        case "event.finished":
            missing = facts.get("missing") or {}
            gone = "".join(f"; without Box {box_id}: {why}" for box_id, why in missing.items())
            return "makai", f"event {facts.get('event_id')}: all Boxes have answered{gone}"
        case "event.more_stored":
            return "makai", f"event {facts.get('event_id')}: what was asked for since then is stored too"
        case "incident.stored":
            ids = [str(each) for each in facts.get("box_ids") or ()]
            boxes = f"{'Box' if len(ids) == 1 else 'Boxes'} {', '.join(ids)}"
            kind = class_phrase(str(facts.get("class")))
            return "mauka", f"incident {facts.get('incident_id')}: {kind} at {boxes}"
        case "peer.refused":
            return "makai", f"refused a peer: key {facts.get('public_key')} ({facts.get('reason')})"
        case "peer.admitted":
            return "makai", f"{box} is admitted: its key is known again"
        case "peer.revoked":
            return "makai", f"{box} is revoked; its connections are ended"
    return None


BOOT_BITS = 0x7FFF_FFFF
SAMPLING_STARTS = 1000
"""A Box's hello has the number of its start, plus one each time that its sampling began since then."""


class BoxStarts:
    """Tells a Box's first start in this run from a later one, whichever of its lines comes first."""

    def __init__(self) -> None:
        self._greeted: dict[str, set[int]] = {}

    def accept_hello(self, facts: Mapping[str, Any]) -> None:
        if isinstance(facts.get("boot_id"), int):
            self._greeted.setdefault(str(facts.get("box_id")), set()).add(facts["boot_id"])

    def forget(self, box_id: str) -> None:
        """Its process has started it, and says so: the number of its next start is not news."""
        self._greeted.pop(box_id, None)

    def is_again(self, facts: Mapping[str, Any]) -> bool:
        """Whether the Box that reports a start has said hello in this run with another start's number."""
        boot_id = facts.get("boot_id")
        greeted = self._greeted.get(str(facts.get("box_id")), set())
        return isinstance(boot_id, int) and any(
            (each - boot_id) & BOOT_BITS >= SAMPLING_STARTS for each in greeted
        )


COMMON_FACTS = {"event", "level", "service", "t", "monotonic_ns", "box_id", "exception", "count"}
"""Facts that do not explain an error."""


def trouble(facts: Mapping[str, Any]) -> str:
    """A log line of level error as one line for a person; only the last line of a traceback."""
    why = facts.get("error") or facts.get("reason")
    if not why and facts.get("exception"):
        why = str(facts["exception"]).strip().splitlines()[-1]
    if not why:
        why = ", ".join(f"{key} {value}" for key, value in facts.items() if key not in COMMON_FACTS)
    where = f"Box {facts['box_id']}: " if facts.get("box_id") else ""
    return f"{where}{facts.get('event')}: {why}".removesuffix(": ")
