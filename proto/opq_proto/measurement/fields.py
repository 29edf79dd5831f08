"""The table of a Measurement: its fields, and the metrics that it carries, with all their names.

A field says when and by whom it was measured (`start_ns`, `sequence`), a quantity is what was measured
(`rms`), and a remark says what lies around it (`flagged`). The wire, both stores, exports, REST, View, rules,
MQTT and the client use these names. This file imports nothing of ours.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "whole", "number", "flag", "source", "bound", "message"]
"""Kind of a field's values. `source` is a TimeSource: a word in JSON and a number in a store. `bound` is a
whole number that saturates, and is unknown in JSON then. `message` has fields of its own, and stands in a
Measurement without metrics, which only the store of intervals reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementField:
    """A field of `messages.Measurement`."""

    name: str
    wire: int
    """Number in `proto/opqbox3.proto`."""
    wire_name: str = ""
    """Name there and in the stores; empty: `name`."""
    kind: Kind
    dtype: str
    """Type of NumPy of its values in columns; empty: it is not in columns."""
    unknown: bool | int | None = None
    """Value where the sender states none."""
    exported: int = 0
    """Place among the columns of an export and the keys of REST; 0: not there."""
    stored: int = 0
    """First version of the packed block (`packed.py`) that has it; 0: no store keeps it with each
    Measurement, because it is a fact of a Box's start, or of the sending."""
    column: str | None = None
    """Column in rules."""
    unit: str = ""
    words: str

    @property
    def stored_name(self) -> str:
        """Name on the wire and in the documents of both stores."""
        return self.wire_name or self.name


FIELDS = (
    MeasurementField(
        name="box_id",
        wire=1,
        kind="text",
        dtype="",
        unknown=None,
        exported=1,
        stored=1,
        column="box",
        words="the Box",
    ),
    MeasurementField(
        name="timestamp_ms",
        wire=2,
        kind="whole",
        dtype="i8",
        exported=3,
        stored=1,
        column="timestamp_ms",
        unit="ms",
        words="end of the window, rounded",
    ),
    MeasurementField(
        name="start_ns",
        wire=1000,
        kind="whole",
        dtype="i8",
        exported=4,
        stored=1,
        column="start_ms",
        unit="ns",
        words="beginning of the window, UTC",
    ),
    MeasurementField(
        name="end_ns",
        wire=1001,
        kind="whole",
        dtype="i8",
        exported=5,
        stored=1,
        column="end_ms",
        unit="ns",
        words="end of the window, UTC",
    ),
    MeasurementField(
        name="uncertainty_ns",
        wire=1002,
        kind="bound",
        dtype="i8",
        exported=6,
        stored=1,
        column="uncertainty_ns",
        unit="ns",
        words="uncertainty of its times",
    ),
    MeasurementField(
        name="source",
        wire=1003,
        wire_name="time_source",
        kind="source",
        dtype="i8",
        unknown=0,
        exported=7,
        stored=1,
        column="source",
        words="source of its times: gps, holdover, ntp, free",
    ),
    MeasurementField(
        name="sequence",
        wire=1004,
        kind="whole",
        dtype="i8",
        exported=2,
        stored=1,
        column="sequence",
        words="number of the Measurement, per Box",
    ),
    MeasurementField(
        name="oldest_sequence",
        wire=1007,
        kind="whole",
        dtype="i8",
        stored=1,
        words="lowest number that the Box still holds",
    ),
    MeasurementField(
        name="backfilled",
        wire=1005,
        kind="flag",
        dtype="",
        unknown=False,
        exported=8,
        stored=1,
        column="backfilled",
        words="whether it was sent later, or again",
    ),
    MeasurementField(
        name="crossing",
        wire=1006,
        kind="flag",
        dtype="",
        unknown=False,
        exported=9,
        stored=1,
        column="crossing",
        words="whether it was sent at once, because a limit was crossed",
    ),
    MeasurementField(
        name="nominal_v",
        wire=1008,
        kind="number",
        dtype="f4",
        exported=11,
        column="nominal_v",
        unit="V",
        words="nominal voltage of the Box",
    ),
    MeasurementField(
        name="nominal_hz",
        wire=1009,
        kind="number",
        dtype="f4",
        column="nominal_hz",
        unit="Hz",
        words="nominal frequency of the Box",
    ),
    MeasurementField(
        name="clock_id",
        wire=1012,
        kind="whole",
        dtype="i8",
        stored=1,
        words="clock of its times, where that is not GPS",
    ),
    MeasurementField(
        name="gateway_id",
        wire=1013,
        kind="whole",
        dtype="",
        words="gateway that sends it",
    ),
    MeasurementField(
        name="first_sample",
        wire=1020,
        kind="whole",
        dtype="i8",
        words="index of the sample that is taken at its beginning",
    ),
    MeasurementField(
        name="samples",
        wire=1021,
        kind="whole",
        dtype="i8",
        words="number of its samples",
    ),
    MeasurementField(
        name="start_id",
        wire=1022,
        kind="whole",
        dtype="i8",
        exported=10,
        words="start of the Box in which its samples count",
    ),
    MeasurementField(
        name="interval",
        wire=1010,
        kind="message",
        dtype="",
        words="an interval of class A: 3 s, 10 s, 10 min or 2 h",
    ),
    MeasurementField(
        name="disturbance",
        wire=1011,
        kind="message",
        dtype="",
        words="a dip, swell or interruption",
    ),
    MeasurementField(
        name="lost",
        wire=1014,
        kind="message",
        dtype="",
        words="intervals or disturbances that the gateway lost",
    ),
)
"""In the order of `messages.Measurement`; its `metrics` (3 on the wire) are QUANTITIES and REMARKS."""
METRICS_WIRE = 3
MOST_V = 1e8
"""Volts that nothing exceeds: full scale at the largest gain (`messages.GAIN_V`) is 33 MV."""
MOST_HZ = 1e4
"""Frequency that nothing exceeds: mains of aircraft have 400 Hz."""
MOST_RATIO = 1e6
"""Ratio that nothing exceeds: a converter of 16 bits has 33,000 counts, and noise is below one."""
MOST_S = 1e10
"""Seconds that nothing exceeds, as many as from 1970 to 2286."""
MOST_OTHER = 1e12
"""Magnitude of values of metrics that are not in this table, such as those of another maker."""
MOST_NUMBER = 2**62
"""Largest number of a Measurement or sample: sums of two still fit 64 bits."""
STORED = tuple(each for each in FIELDS if each.stored)
"""Fields that both stores keep with each Measurement."""


def titled(words: str, unit: str) -> str:
    """Returns `Voltage, V`; a ratio has no unit."""
    return f"{words}, {unit}" if unit else words


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownQuantity:
    """A quantity in View: on its pages, its live feed and `/api/v1/boxes`."""

    name: str
    """Name in JSON, with the unit."""
    words: str
    unit: str
    factor: float = 1.0
    """Value in `unit` = value on the wire times this."""
    part: Literal["average", "max"] = "average"
    rounded: int
    """Decimal places in JSON."""
    digits: int
    """Decimal places on pages."""
    limits: tuple[str, str] | None = None
    """Names in JSON of its minimum and maximum; None: they are not there."""
    series: int | None = None
    """Colour of its line over time (`--series-<n>`); None: no line, and not in `/history`."""
    about: str
    """Second line of its figure on a Box's page; {volts} and {hertz} stand for the Box's nominal values."""
    examples: tuple[float, ...]
    """Its value in the documentation of REST, and those of `limits`."""

    @property
    def title(self) -> str:
        """Words and unit, for the head of a column or chart."""
        return titled(self.words, self.unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttEntity:
    """A quantity as Home Assistant shows it."""

    key: str
    topic: str
    """Topic below the Box's: the interval whose values it shows."""
    words: str
    unit: str | None
    percent: bool = False
    """Whether it shows a ratio in percent."""
    device_class: str | None = None
    digits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A metric of a Measurement: minimum, maximum and mean of one quantity over its window."""

    key: str
    """Key on the wire, column in rules (with `_min`, `_max`) and export, key in both stores."""
    unit: str
    """Unit on the wire; empty: a ratio."""
    words: str
    least: float = 0.0
    """Least possible value; what is below does not come from a signal, however broken its converter is."""
    most: float
    """Greatest possible value, in the same sense."""
    original: str | None = None
    """Field in documents of the original. The quantities with one are in each Measurement, and in columns."""
    value: str | None = None
    """Name in the gateway's values of 10/12 cycles, 3 s ... : MQTT's JSON, rules at the edge; None: not in
    these."""
    limits: tuple[str, str] | None = None
    """Names there of its minimum and maximum within the interval."""
    spoilt: bool = True
    """Whether a dip, swell or interruption makes it wrong (IEC 61000-4-30, 4.7)."""
    shown: ShownQuantity | None = None
    mqtt: MqttEntity | None = None


QUANTITIES = (
    Quantity(
        key="rms",
        unit="V",
        words="rms voltage of each cycle, Urms(1/2)",
        most=MOST_V,
        original="voltage",
        value="rms_v",
        limits=("urms_min_v", "urms_max_v"),
        spoilt=False,
        shown=ShownQuantity(
            name="rms_v",
            words="Voltage",
            unit="V",
            rounded=3,
            digits=2,
            series=0,
            limits=("rms_min_v", "rms_max_v"),
            about="rms, {volts} nominal",
            examples=(119.87, 119.7, 120.0),
        ),
        mqtt=MqttEntity(key="rms_v", topic="3s", words="Voltage", unit="V", device_class="voltage", digits=2),
    ),
    Quantity(
        key="f",
        unit="Hz",
        words="frequency of 10/12 cycles",
        most=MOST_HZ,
        original="frequency",
        value="f_hz",
        shown=ShownQuantity(
            name="f_hz",
            words="Frequency",
            unit="Hz",
            rounded=4,
            digits=3,
            series=2,
            about="{hertz} nominal",
            examples=(59.983,),
        ),
        mqtt=MqttEntity(
            key="f_hz", topic="10s", words="Frequency", unit="Hz", device_class="frequency", digits=4
        ),
    ),
    Quantity(
        key="thd",
        unit="",
        words="total harmonic distortion, subgroups to order 50",
        most=MOST_RATIO,
        original="thd",
        value="thd_ratio",
        shown=ShownQuantity(
            name="thd_percent",
            words="THD",
            unit="%",
            factor=100.0,
            rounded=3,
            digits=2,
            series=1,
            about="total harmonic distortion",
            examples=(2.98,),
        ),
        mqtt=MqttEntity(
            key="thd", topic="3s", words="Total harmonic distortion", unit="%", percent=True, digits=2
        ),
    ),
    Quantity(
        key="trans",
        unit="V",
        words="largest magnitude above 400 Hz",
        most=MOST_V,
        original="transient",
        value="trans_v",
        spoilt=False,
        shown=ShownQuantity(
            name="trans_v",
            words="Transients",
            unit="V",
            part="max",
            rounded=2,
            digits=1,
            about="peak above 400\u202fHz",
            examples=(1.6,),
        ),
    ),
    Quantity(
        key="rocof",
        unit="Hz/s",
        words="rate of change of frequency, over half a second",
        least=-100 * MOST_HZ,
        most=100 * MOST_HZ,
        value="rocof_hz_per_s",
    ),
    Quantity(
        key="pst",
        unit="",
        words="short-term flicker severity, of ten minutes",
        most=MOST_RATIO,
        value="pst",
        mqtt=MqttEntity(key="pst", topic="10min_flicker", words="Flicker Pst", unit=None, digits=3),
    ),
    Quantity(
        key="unbalance",
        unit="",
        words="negative to positive sequence, of a group of three Boxes",
        most=MOST_RATIO,
    ),
)
"""In the order of pages and of the original's documents; `h2` to `h50` are HARMONICS."""
LAST_HARMONIC = 50
HARMONICS = tuple(f"h{order}" for order in range(2, LAST_HARMONIC + 1))
"""Subgroup of an order, as a ratio to the fundamental."""

DRAWN = tuple(each.shown for each in QUANTITIES if each.shown and each.shown.series is not None)
"""Quantities with a line over time, in the order of pages; the first is the voltage."""
DRAWN_KEYS = {
    each.shown.name: (each.key, each.shown.factor)
    for each in QUANTITIES
    if each.shown and each.shown.series is not None
}
"""Name in JSON -> key on the wire, and the factor of its values, of DRAWN."""
SHOWN_EXAMPLES = {
    name: value
    for each in QUANTITIES
    if (shown := each.shown) is not None
    for name, value in zip((shown.name, *(shown.limits or ())), shown.examples, strict=True)
}
"""Name in JSON -> an example, of the quantities in View."""
BY_KEY = {each.key: each for each in QUANTITIES}
USUAL = tuple(each.key for each in QUANTITIES if each.original is not None)
"""The original's four, which each window has."""
METRIC_NAMES = tuple(sorted(USUAL))
"""The same in the order of columns and of the bytes on the wire, where a map is sorted."""
ORIGINAL_FIELDS = {each.key: each.original for each in QUANTITIES if each.original is not None}
"""Key -> field of the original's documents (docs/reference/opq-interop.md, D.1 and D.2)."""
SENDABLE = frozenset((*BY_KEY, *HARMONICS))
"""Metrics that a gateway can be told to send."""
SPOILT = frozenset((*(each.key for each in QUANTITIES if each.spoilt), *HARMONICS))
"""Metrics that a dip, swell or interruption makes wrong. Its rms and transients are what a trend shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A metric with one value that says what lies around a Measurement; it comes only where it applies."""

    key: str
    unit: str = ""
    about: Literal["continuity", "restart", "supply", "former"]
    words: str
    least: float = 0.0
    """Least possible value."""
    most: float
    """Greatest possible value."""


REMARKS = (
    Remark(key="flagged", about="continuity", most=255, words="touches a gap (1), or a dip or swell (2)"),
    Remark(
        key="clock_set_s",
        unit="s",
        about="continuity",
        least=-MOST_S,
        most=MOST_S,
        words="the clock was set before it, by",
    ),
    Remark(
        key="dark_after_s", unit="s", about="continuity", most=MOST_S, words="its start lost the supply after"
    ),
    Remark(
        key="missing_overrun_s",
        unit="s",
        about="continuity",
        most=MOST_S,
        words="missing before it: lost in the Box",
    ),
    Remark(
        key="missing_line_s", unit="s", about="continuity", most=MOST_S, words="missing: lost on the line"
    ),
    Remark(
        key="missing_gateway_s",
        unit="s",
        about="continuity",
        most=MOST_S,
        words="missing: the gateway stood still",
    ),
    Remark(
        key="missing_dark_s",
        unit="s",
        about="continuity",
        most=MOST_S,
        words="missing: the Box had no supply",
    ),
    Remark(
        key="missing_restart_s", unit="s", about="continuity", most=MOST_S, words="missing: the Box restarted"
    ),
    Remark(key="restart_cause", about="restart", most=255, words="code of `log_codes.RESET_CAUSES`"),
    Remark(key="supply_v", unit="V", about="supply", least=-1e3, most=1e3, words="supply of the Box"),
    Remark(key="battery_v", unit="V", about="supply", least=-1e3, most=1e3, words="battery of the Box"),
    Remark(key="gateway_supply", about="supply", most=1, words="0 while the gateway's supply fails"),
    Remark(
        key="missing_s",
        unit="s",
        about="former",
        most=MOST_S,
        words="missing, of gateways before the reasons",
    ),
)
"""What `measurement.continuity` and `measurement.supply_word` read and write."""


LIMITS = {
    **{each.key: (each.least, each.most) for each in QUANTITIES},
    **dict.fromkeys(HARMONICS, (0.0, MOST_RATIO)),
    **{each.key: (each.least, each.most) for each in REMARKS},
}
"""Metric -> its least and greatest possible value."""
OTHER_LIMITS = (-MOST_OTHER, MOST_OTHER)
_OF_UNITS = {
    "_v": (0.0, MOST_V),
    "_hz": (0.0, MOST_HZ),
    "_ratio": (-1.0, MOST_RATIO),
    "_deg": (-360.0, 360.0),
    "pst": (0.0, MOST_RATIO),
    "plt": (0.0, MOST_RATIO),
}


def interval_limits(name: str) -> tuple[float, float]:
    """Returns the least and greatest possible value of an interval's quantity; its name ends in its unit."""
    return next((limits for end, limits in _OF_UNITS.items() if name.endswith(end)), OTHER_LIMITS)


def edge_columns() -> dict[str, str]:
    """Returns the gateway's names of values -> the columns in rules that a Measurement has for the same."""
    found = {}
    for each in QUANTITIES:
        columns = each.key, f"{each.key}_min", f"{each.key}_max"
        for name, column in zip((each.value, *(each.limits or ())), columns, strict=False):
            if name is not None:
                found[name] = column
    return found


def remarks_about(*about: str) -> frozenset[str]:
    """Returns the keys of REMARKS about these."""
    return frozenset(each.key for each in REMARKS if each.about in about)
