"""Server-sent events of the live feed: a Measurement, an incident, and their JSON. Pure."""

import json
import zlib
from dataclasses import dataclass, field

from opq_cloud.store.incidents.as_json import incident_json
from opq_cloud.store.incidents.box_events import is_steady
from opq_cloud.view.live.recent import NewestMeasurement, window_ms
from opq_cloud.view.web.words import Names, class_tone, class_words, headline, outline
from opq_proto.measurement.fields import USUAL
from opq_proto.measurement.flagged import flags_of
from opq_proto.measurement.measurement_json import FIGURES_TEXT, figures_json, figures_values
from opq_proto.messages import SOURCE_WORDS, Incident, Measurement, known_uncertainty_ns

LARGEST_ID = 2**31 - 1
"""The highest number of an event or incident."""


@dataclass(slots=True)
class LiveMessage:
    """One server-sent event; `event_id` only where a client may request later events."""

    event: str
    data: str
    event_id: str | None = None
    box_id: str = ""
    """The Box of a measurement; empty for others."""
    incident: Incident | None = None
    """The incident, or what it was before its removal; None for a measurement."""
    names: Names = field(default_factory=dict)
    wire: bytes = field(init=False)
    """Its bytes on the wire (WHATWG HTML, 9.2.5), made once for all receivers."""

    def __post_init__(self) -> None:
        head = f"id: {self.event_id}\n" if self.event_id else ""
        self.wire = f"{head}event: {self.event}\ndata: {self.data}\n\n".encode()


def newest_json(measurement: Measurement) -> dict[str, object]:
    """A Measurement as the page and `/api/v1/boxes` show it; unknown is None."""
    return {
        "box_id": measurement.box_id,
        "timestamp_ms": measurement.timestamp_ms,
        **figures_json(measurement.metrics),
        "window_ms": round(window_ms(measurement), 1),
        "uncertainty_ns": known_uncertainty_ns(measurement.uncertainty_ns),
        "source": SOURCE_WORDS[measurement.source],
        "flagged": flags_of(measurement.metrics),
    }


def fingerprint(incident: Incident) -> str:
    """Eight hex digits that change with anything that pages show of the incident."""
    return f"{zlib.crc32(repr(incident).encode()):08x}"


_text = json.JSONEncoder().encode
_FINITE_TEXT = (
    f'{{"box_id": %s, "timestamp_ms": %d, {FIGURES_TEXT}, "window_ms": %.1f, "uncertainty_ns": %s, '
    '"source": "%s", "flagged": %d, "age_ms": %d, "silent_after_ms": %d, "late_ms": %d, "newest_ms": %d}'
)


def measurement_message(measurement: Measurement, newest: NewestMeasurement, now_ms: int) -> LiveMessage:
    """`newest_ms`: time of the Box's newest, which is later where a crossing came before its window."""
    state = {
        "age_ms": max(0, now_ms - newest.received_ms),
        "silent_after_ms": newest.silent_after_ms,
        "late_ms": newest.late_ms,
        "newest_ms": newest.measurement.timestamp_ms,
    }
    return LiveMessage(
        "measurement",
        _finite_text(measurement, *state.values()) or json.dumps({**newest_json(measurement), **state}),
        box_id=measurement.box_id,
    )


def _finite_text(
    measurement: Measurement, age_ms: int, silent_after_ms: int, late_ms: int, newest_ms: int
) -> str:
    """The text of `newest_json` in a quarter of the time, where all values are known; else empty."""
    metrics = measurement.metrics
    figures = figures_values(metrics)
    if not figures:
        return ""
    flags = flags_of(metrics) if len(metrics) > len(USUAL) else 0
    uncertainty = known_uncertainty_ns(measurement.uncertainty_ns)
    return _FINITE_TEXT % (
        _text(measurement.box_id),
        measurement.timestamp_ms,
        *figures,
        window_ms(measurement),
        "null" if uncertainty is None else uncertainty,
        SOURCE_WORDS[measurement.source],
        flags,
        age_ms,
        silent_after_ms,
        late_ms,
        newest_ms,
    )


def incident_message(incident: Incident, names: Names) -> LiveMessage:
    """The message of an incident for open pages, with the words that our pages show."""
    mark = fingerprint(incident)
    show = {
        "outline": outline(incident, names),
        "class_words": class_words(incident.kind),
        "tone": class_tone(incident.kind),
        "fingerprint": mark,
        "steady": is_steady(incident.kind),
    }
    data = json.dumps({**incident_json(incident), "summary": headline(incident, names), "show": show})
    event_id = f"{incident.incident_id}-{mark}"
    return LiveMessage("incident", data, event_id, incident=incident, names=names)
