"""Answers of `/api/v1` as frozen values. Unknown is None; fields that a newer View adds are ignored."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import OpqError
from opq_proto.measurement.fields import DRAWN_KEYS

R = TypeVar("R")
Facts = Mapping[str, object]
NAMES_IN_JSON = {"kind": "class"}


class AnswerNotReadError(OpqError):
    """An answer lacks a required field: the server is not a View, or one of another version."""


@dataclass(frozen=True, slots=True)
class RemoteBox:
    """A Box; `measurement` is its newest, as `/api/v1/boxes` has it."""

    box_id: str
    name: str
    nominal_v: float
    nominal_hz: float
    location: str | None = None
    region: str | None = None
    unplugged: bool = False
    measurement: Facts | None = None


@dataclass(frozen=True, slots=True)
class RemoteMeasurement:
    """A few numbers of one window: `metrics["rms"]["average"]` in V, `f` in Hz, `thd` as a ratio."""

    box_id: str
    timestamp_ms: int
    metrics: Mapping[str, Mapping[str, float | None]]
    start_ns: int | None = None
    end_ns: int | None = None
    uncertainty_ns: int | None = None
    source: str = "free"
    sequence: int | None = None
    backfilled: bool = False
    crossing: bool = False


@dataclass(frozen=True, slots=True)
class RemoteInterval:
    """An interval of class A: `values["rms_v"]`, `values["h5_v"]`; None or absent where not known."""

    box_id: str
    length_ms: int
    start_ns: int
    end_ns: int
    flagged: bool
    coverage: float | None
    values: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RemoteDisturbance:
    """A dip, swell or interruption; `end_ns` None: it has not ended, or its end is not known."""

    box_id: str
    kind: str
    start_ns: int
    end_ns: int | None = None
    uncertainty_ns: int | None = None
    residual_v: float | None = None
    polyphase_group: int | None = None


@dataclass(frozen=True, slots=True)
class _TrendRow:
    start_ms: int
    coverage: float

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> tuple[float, float, float] | None:
            """`rms_v`, `f_hz` and the other quantities of `opq_proto.measurement.fields.DRAWN`."""


if TYPE_CHECKING:
    RemoteTrendRow = _TrendRow
else:
    RemoteTrendRow = make_dataclass(
        "RemoteTrendRow",
        [(name, tuple[float, float, float] | None, None) for name in DRAWN_KEYS],
        bases=(_TrendRow,),
        namespace={"__doc__": "(min, mean, max) of each quantity over one row; None where not known."},
        frozen=True,
        slots=True,
    )
    RemoteTrendRow.__module__ = __name__


@dataclass(frozen=True, slots=True)
class RemoteEvent:
    """An event without its samples."""

    id: int
    start_ns: int
    end_ns: int
    box_ids: tuple[str, ...]
    received: tuple[str, ...]
    missing: Mapping[str, str]
    because: str
    finished: bool
    analysed: bool
    opened_by: str = ""
    onset_ns: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class RemoteIncident:
    """One disturbance of the grid; class, residual and times are those of its worst finding."""

    id: int
    kind: str
    box_ids: tuple[str, ...]
    event_ids: tuple[int, ...]
    start_ms: float
    closed: bool
    summary: str
    end_ms: float | None = None
    residual_percent: float | None = None
    classes: Mapping[str, str] = field(default_factory=dict)
    scope: str | None = None
    severity: float | None = None
    follows: int | None = None
    worst_event_id: int | None = None
    worst_box_id: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteFinding:
    """A named disturbance at one Box, with the reasons for the name."""

    finding_id: int
    incident_id: int
    event_id: int
    kind: str
    box_id: str
    start_ns: int
    end_ns: int
    closed: bool
    because: str
    uncertainty_ns: int | None = None
    residual_v: float | None = None
    residual_percent: float | None = None
    duration_cycles: float | None = None
    ieee1159: str | None = None
    itic: str | None = None
    semi_f47: str | None = None
    confidence: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RemoteWaveform:
    """Raw samples of one Box; at each of `gaps`, neighbours in `counts` are not neighbours in time."""

    event_id: int
    box_id: str
    rate_hz: float
    rate_millihz: int
    volts_per_lsb: float
    start_ns: int
    first_sample: int
    time_source: str
    gaps: tuple[Facts, ...]
    counts: tuple[int, ...]
    uncertainty_ns: int | None = None
    nominal_volts: float | None = None

    @property
    def volts(self) -> NDArray[np.float64]:
        """Samples in volts, (n,) float64."""
        return np.asarray(self.counts, np.float64) * self.volts_per_lsb

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Seconds from the first sample, (n,) float64; gaps are included."""
        positions = np.arange(len(self.counts), dtype=np.float64)
        for gap in sorted(self.gaps, key=_first_of):
            positions[positions >= _first_of(gap) - self.first_sample] += _whole(gap["samples"])
        return positions * 1000.0 / self.rate_millihz


@dataclass(frozen=True, slots=True)
class LiveNews:
    """One server-sent event: `measurement`, `incident` or `incident_gone`."""

    event: str
    facts: Facts
    id: str = ""
    """Id to resume after this event: `live(after=news.id)`; empty for Measurements."""


def read_record(kind: type[R], facts: object) -> R:
    """Makes a record from its JSON.

    Raises:
        AnswerNotReadError: not a JSON object, or a field is missing.
    """
    if not isinstance(facts, Mapping):
        raise AnswerNotReadError(f"the answer is not a {kind.__name__} but {str(facts)[:60]!r}")
    values: dict[str, object] = {}
    if kind is RemoteInterval:
        own = {each.name for each in fields(RemoteInterval)}
        values["values"] = {name: value for name, value in facts.items() if name not in own}
    for each in fields(kind):  # type: ignore[arg-type]
        name = NAMES_IN_JSON.get(each.name, each.name)
        if name in facts:
            found = facts[name]
            values[each.name] = tuple(found) if isinstance(found, list) else found
        elif each.default is MISSING and each.default_factory is MISSING:
            raise AnswerNotReadError(f"the answer is not a {kind.__name__}: it has no {name}")
    return kind(**values)


def _first_of(gap: Facts) -> int:
    return _whole(gap["first_sample"])


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
