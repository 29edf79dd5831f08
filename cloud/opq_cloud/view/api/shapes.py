"""The JSON of `/api/v1` for OpenAPI: fields, units, examples. docs/api.md describes the same in words.

Quantities are those of the table of a Measurement (`opq_proto.measurement.fields`).
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from opq_cloud.view.pages.visible.registry import BOX_ID
from opq_proto.measurement.fields import DRAWN_KEYS, SHOWN_EXAMPLES

BOX_PATTERN = f"^{BOX_ID.pattern}$"
NEWEST: dict[str, Any] = {
    "box_id": "1",
    "timestamp_ms": 1795000000000,
    **SHOWN_EXAMPLES,
    "window_ms": 1000.0,
    "uncertainty_ns": 1200000,
    "source": "ntp",
    "flagged": 0,
}
BOX: dict[str, Any] = {
    "box_id": "1",
    "name": "Box 1, kitchen",
    "location": None,
    "region": None,
    "nominal_v": 120.0,
    "nominal_hz": 60.0,
    "unplugged": False,
    "availability": {"hour": 0.9997, "day": 0.9912, "until_ms": 1795000000000.0},
    "measurement": NEWEST,
}
INCIDENT: dict[str, Any] = {
    "id": 3,
    "class": "sag",
    "box_ids": ["1"],
    "start_ms": 1795000000123.457,
    "end_ms": 1795000000281.1,
    "residual_percent": 85.2,
    "event_ids": [17],
    "closed": True,
    "classes": {"1": "sag"},
    "scope": "local",
    "cause": None,
    "severity": 3.1,
    "follows": None,
    "arrivals": [],
    "centre": None,
    "found_by": [
        {"analysis": "rms_voltage", "version": "0.1.0", "settings_hash": "5f3a0c9d21be", "findings": 1}
    ],
    "summary": "Sag to 85.2 % at Box 1, 158 ms",
    "work": {"state": "acknowledged", "assigned_to": "Ada", "known_cause": None},
    "seen": True,
    "worst_event_id": 1,
    "worst_box_id": "1",
}
FINDING: dict[str, Any] = {
    "finding_id": 5,
    "incident_id": 3,
    "event_id": 17,
    "class": "sag",
    "box_id": "1",
    "start_ns": 1795000000123456789,
    "end_ns": 1795000000281100000,
    "uncertainty_ns": 250,
    "closed": True,
    "residual_v": 102.2,
    "residual_percent": 85.2,
    "duration_cycles": 9.5,
    "confidence": 0.98,
    "ieee1159": "instantaneous sag",
    "itic": "no_interruption_in_function",
    "semi_f47": "pass",
    "because": "residual 85.2 % for 9.5 cycles",
    "figures": {},
    "analysis": "rms_voltage",
    "analysis_version": "0.1.0",
    "settings_hash": "5f3a0c9d21be",
    "severity": 3.1,
}
EVENT: dict[str, Any] = {
    "id": 17,
    "start_ns": 1795000000000000000,
    "end_ns": 1795000002000000000,
    "onset_ns": None,
    "box_ids": ["1", "4"],
    "received": ["1", "4"],
    "missing": {},
    "short": {},
    "opened_by": "1",
    "because": "threshold: rms 102.2 V at Box 1, limit 108.0 V",
    "finished": True,
    "analysed": True,
}
MEASUREMENT: dict[str, Any] = {
    "box_id": "1",
    "sequence": 88,
    "timestamp_ms": 1795000000000,
    "start_ns": 1794999999000000000,
    "end_ns": 1795000000000000000,
    "uncertainty_ns": 1200000,
    "source": "ntp",
    "backfilled": False,
    "crossing": False,
    "metrics": {"rms": {"min": 119.7, "max": 120.0, "average": 119.87}},
}

INTERVAL: dict[str, Any] = {
    "box_id": "1",
    "length_ms": 600000,
    "start_ns": 1795000200000000000,
    "end_ns": 1795000800000000000,
    "flagged": False,
    "coverage": 1.0,
    "sequence": 81204,
    "flicker_sequence": 81203,
    "rms_v": 119.9,
    "rms_min_v": 119.1,
    "rms_max_v": 120.4,
    "f_hz": 59.99,
    "thd_ratio": 0.021,
    "pst": 0.31,
    "h1_v": 119.9,
    "h5_v": 1.9,
}
DISTURBANCE: dict[str, Any] = {
    "box_id": "1",
    "class": "dip",
    "start_ns": 1795000000123456789,
    "end_ns": 1795000000281100000,
    "uncertainty_ns": 250,
    "residual_v": 102.2,
    "polyphase_group": None,
}


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow")


class BoxShape(_Shape):
    """A Box, with its newest measurement; null where it was not heard."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": BOX})
    box_id: str
    name: str
    location: str | None
    region: str | None
    nominal_v: float
    nominal_hz: float
    unplugged: bool
    availability: dict[str, float | None] = Field(
        description="Measured share of the hour and day until `until_ms`, since the Box was first heard"
    )
    measurement: dict[str, Any] | None


class IncidentShape(_Shape):
    """One disturbance of the grid; class, residual and times are those of its worst finding."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": INCIDENT})
    id: int
    class_: str = Field(alias="class")
    box_ids: list[str]
    start_ms: float
    end_ms: float | None
    residual_percent: float | None
    event_ids: list[int]
    closed: bool
    classes: dict[str, str]
    scope: str | None
    severity: float | None
    follows: int | None
    summary: str
    work: dict[str, str | None] | None = Field(description="Null where you do not see all of it")
    seen: bool | None = Field(description="Not new to the account that asks; null without one")
    worst_event_id: int | None
    worst_box_id: str | None


class FindingShape(_Shape):
    """A named disturbance at one Box."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": FINDING})
    finding_id: int
    incident_id: int
    event_id: int
    class_: str = Field(alias="class")
    box_id: str
    start_ns: int
    end_ns: int
    uncertainty_ns: int | None
    closed: bool
    residual_percent: float | None
    because: str
    analysis: str | None
    analysis_version: str | None
    settings_hash: str | None


class EventShape(_Shape):
    """An event without its samples."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": EVENT})
    id: int
    start_ns: int
    end_ns: int
    onset_ns: list[int] | None
    box_ids: list[str]
    received: list[str]
    missing: dict[str, str]
    short: dict[str, str]
    opened_by: str
    because: str
    finished: bool
    analysed: bool


class MeasurementShape(_Shape):
    """A few numbers of one window of a Box; metrics `rms` V, `f` Hz, `thd` ratio, `trans` V."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": MEASUREMENT})
    box_id: str
    timestamp_ms: int
    metrics: dict[str, dict[str, float | None]]
    uncertainty_ns: int | None
    source: Literal["gps", "holdover", "ntp", "free"]


class IntervalShape(_Shape):
    """An interval of IEC 61000-4-30, class A; a value that is not known is null or absent."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": INTERVAL})
    box_id: str
    length_ms: int
    start_ns: int
    end_ns: int
    flagged: bool
    coverage: float | None
    sequence: int | None
    flicker_sequence: int | None


class DisturbanceShape(_Shape):
    """A dip, swell or interruption at one Box; `end_ns` null: it has not ended, or its end is not known."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": DISTURBANCE})
    box_id: str
    class_: str = Field(alias="class")
    start_ns: int
    end_ns: int | None
    uncertainty_ns: int | None
    residual_v: float | None
    polyphase_group: int | None


class PhenomenonShape(_Shape):
    """What changed or lasted over weeks; `size` in `unit` where it has one."""

    id: int
    kind: str
    box_ids: list[str]
    start_ms: int
    end_ms: int
    quantity: str | None
    size: float | None
    unit: str | None
    summary: str
    event_ids: list[int]
    finding_ids: list[int]
    details: dict[str, Any]


class PhenomenonList(BaseModel):
    items: list[PhenomenonShape]
    next: str | None


class SiteItem(_Shape):
    """A site and its Boxes, in the order of their phases."""

    name: str
    box_ids: list[str]


class SiteShape(SiteItem):
    """A site over the newest ten minutes of its Boxes; null: not known."""

    start_ns: int | None
    flagged: bool
    phases: list[dict[str, Any]]
    u2_ratio: float | None
    u0_ratio: float | None
    clock_ratio: float | None
    angle_doubt_deg: float | None
    magnitudes_percent: float | None
    events: list[dict[str, Any]]


class WaveformShape(_Shape):
    """Converter counts with gain and time: volts = counts x volts_per_lsb; null: the gain is not stated, and
    `problem` says what to do."""

    event_id: int
    box_id: str
    rate_hz: float
    volts_per_lsb: float | None
    problem: str | None
    start_ns: int
    uncertainty_ns: int | None
    time_source: Literal["gps", "holdover", "ntp", "free"]
    gaps: list[dict[str, Any]]
    counts: list[int]


class _TrendRow(_Shape):
    start_ms: int
    coverage: float
    flagged: int


if TYPE_CHECKING:
    TrendRowShape = _TrendRow
else:
    TrendRowShape = create_model(
        "TrendRowShape",
        __base__=_TrendRow,
        __doc__="[min, mean, max] of each metric over one row.",
        **dict.fromkeys(DRAWN_KEYS, (list[float] | None, ...)),
    )


class TrendShape(_Shape):
    """Any span of a Box by rows of one length."""

    box_id: str
    from_ms: int
    to_ms: int
    step_ms: int
    rows: list[TrendRowShape]


class BoxList(BaseModel):
    items: list[BoxShape]
    next: str | None


class IncidentList(BaseModel):
    items: list[IncidentShape]
    next: str | None
    indexed_percent: int | None


class FindingList(BaseModel):
    items: list[FindingShape]
    next: str | None
    indexed_percent: int | None


class EventList(BaseModel):
    items: list[EventShape]
    next: str | None


class MeasurementList(BaseModel):
    items: list[MeasurementShape]
    next: str | None


class IntervalList(BaseModel):
    items: list[IntervalShape]
    next: str | None


class SiteList(BaseModel):
    items: list[SiteItem]
    next: None


class DisturbanceList(BaseModel):
    items: list[DisturbanceShape]
    next: str | None


class ProblemShape(_Shape):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
