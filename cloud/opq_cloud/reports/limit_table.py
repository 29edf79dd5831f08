"""The limits of a standard, read from a file of `limits/` or of a country."""

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

from opq_measure.standards.event_tables import EN50160_DIPS, EN50160_SWELLS, UNIPEDE_DIPS, TableForm
from opq_measure.standards.requirements import Requirement
from opq_proto.errors import OpqError
from opq_proto.measurement.intervals import LENGTHS_MS

FOLDER = Path(__file__).parent / "limits"
EVENT_SOURCES = Path(__file__).parent / "event_sources.toml"
Basis = Literal["nominal_v", "nominal_hz", "fundamental", "ratio", "one"]
FlaggedRule = Literal["left_out", "kept", "kept_if_lasting"]
"""Which flagged intervals count: none, all, or those of a dip or swell of more than a minute."""
BASES: Final = ("nominal_v", "nominal_hz", "fundamental", "ratio", "one")
"""What 100 % is: a nominal value, the interval's fundamental, 1 of a ratio; `one` is not a percentage."""
QUANTITIES: Final = (
    "f_hz",
    "rms_v",
    "plt",
    "pst",
    "u2_ratio",
    "u0_ratio",
    "thd_ratio",
    "signalling_v",
    "harmonics_v",
)
TABLES: Final[Mapping[str, tuple[TableForm, ...]]] = {
    "en50160": (EN50160_DIPS, EN50160_SWELLS),
    "unipede": (UNIPEDE_DIPS, EN50160_SWELLS),
    "ieee1159": (),
}
"""Names of `dips` -> tables of events; the names of IEEE 1159 are counted in every report."""
_LIMIT_KEYS: Final = {
    "name",
    "quantity",
    "of",
    "interval_ms",
    "period",
    "clause",
    "percent",
    "low",
    "high",
    "orders",
    "first_order",
    "last_order",
    "flagged",
    "sources",
    "order_sources",
    "least_measured_percent",
    "note",
}
MOST_ORDER = 50


class LimitFileError(OpqError):
    """A file of limits that cannot be used; one line says what and where."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One line of a standard: at least `requirement.percent` of the values lie within its limits."""

    name: str
    quantity: str
    basis: Basis
    interval_ms: int
    clause: str
    requirement: Requirement
    order: int | None = None
    """The order of a harmonic."""
    daily: bool = False
    """Whether each local day has to meet it; otherwise the week."""
    flagged: FlaggedRule = "left_out"
    sources: tuple[str, ...] = ()
    note: str = ""
    least_measured_percent: float = 100.0
    """With this share of the week, or of the day, a verdict is that of what was measured. With less, each
    missing value may be within or outside."""

    @property
    def words(self) -> str:
        """`harmonic 5`, `voltage`."""
        return self.name if self.order is None else f"{self.name} {self.order}"

    @property
    def unit(self) -> str:
        return "" if self.basis == "one" else "%"

    @property
    def confirmed(self) -> bool:
        """Whether two sources that were looked up say the same."""
        return len(self.sources) >= 2

    @property
    def limit_words(self) -> str:
        """`90 to 110 % for 95 % of the week`."""
        low, high, unit = self.requirement.low, self.requirement.high, f" {self.unit}".rstrip()
        if math.isfinite(low) and math.isfinite(high):
            span = f"{low:g} to {high:g}{unit}"
        else:
            span = f"at most {high:g}{unit}" if math.isfinite(high) else f"at least {low:g}{unit}"
        return f"{span} for {self.requirement.percent:g} % of {'each day' if self.daily else 'the week'}"


@dataclass(frozen=True, slots=True)
class NotJudged:
    """A part of the standard without a verdict, and why."""

    name: str
    clause: str
    why: str


@dataclass(frozen=True, slots=True)
class Counted:
    """A table, names or a curve by which events are counted, and the sources that say the same."""

    name: str
    clause: str
    sources: tuple[str, ...]
    """In words."""


@dataclass(frozen=True, slots=True)
class LimitTable:
    """A standard as a report judges by it."""

    standard: str
    title: str
    limits: tuple[Limit, ...]
    not_judged: tuple[NotJudged, ...]
    sources: Mapping[str, str]
    dips: str
    long_interruption_s: float
    interruption_percent: float
    """An interruption is below this share of the nominal voltage, at all phases of a site."""

    @property
    def event_tables(self) -> tuple[TableForm, ...]:
        return TABLES[self.dips]

    @property
    def counted(self) -> tuple[Counted, ...]:
        """What this standard's reports count events by."""
        return tuple(each for dips, each in _counted() if dips in (None, self.dips))

    @property
    def sources_in_words(self) -> tuple[str, ...]:
        """Sources of the limits and of what events are counted by, once each."""
        counted = (source for each in self.counted for source in each.sources)
        return tuple(dict.fromkeys((*self.sources.values(), *counted)))


@cache
def _counted() -> tuple[tuple[str | None, Counted], ...]:
    """Value of `dips`, or None for every report, and what it counts by."""
    document = tomllib.loads(EVENT_SOURCES.read_text(encoding="utf-8"))
    return tuple(
        (
            each.get("dips"),
            Counted(each["name"], each["clause"], tuple(document["sources"][key] for key in each["sources"])),
        )
        for each in document["counted"]
    )


@cache
def known_standards() -> tuple[str, ...]:
    """The names of the files that come with this package, which do not change while it runs."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def limit_table(standard: str) -> LimitTable:
    """The table of a standard's name, or of a file that ends in .toml.

    Raises:
        LimitFileError: there is no such standard or file, or its content cannot be used.
    """
    if standard.endswith(".toml"):
        return _read_table(Path(standard))
    if standard not in known_standards():
        names = ", ".join(known_standards())
        raise LimitFileError(f"{standard!r} is not a known standard; want one of {names}, or a .toml file")
    return _own_table(standard)


@cache
def _own_table(standard: str) -> LimitTable:
    """The table of a file that comes with this package: parsing takes longer than a chart of a week."""
    return _read_table(FOLDER / f"{standard}.toml")


def _read_table(path: Path) -> LimitTable:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise LimitFileError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise LimitFileError(f"{path}: not TOML: {error}") from error
    try:
        return _table(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise LimitFileError(f"{path}: {what}") from error


def _table(document: Mapping[str, Any]) -> LimitTable:
    sources = {str(key): str(text) for key, text in document.get("sources", {}).items()}
    dips = str(document.get("dips", "en50160"))
    if dips not in TABLES:
        raise ValueError(f"dips is {dips!r}; want one of {', '.join(TABLES)}")
    least = {key: document[key] for key in ("least_measured_percent",) if key in document}
    entries = document["limit"]
    if not entries:
        raise ValueError("[[limit]] is missing; a standard has at least one")
    return LimitTable(
        str(document["standard"]),
        str(document["title"]),
        tuple(limit for entry in entries for limit in _limits({**least, **entry}, sources)),
        tuple(
            NotJudged(str(each["name"]), str(each["clause"]), str(each["why"]))
            for each in document.get("not_judged", ())
        ),
        sources,
        dips,
        _number("long_interruption_s", document.get("long_interruption_s", 180)),
        _number("interruption_percent", document.get("interruption_percent", 5)),
    )


def _limits(entry: Mapping[str, Any], known: Mapping[str, str]) -> Iterator[Limit]:
    """One limit, or one for each order of a harmonic."""
    name = str(entry["name"])
    if unknown := sorted(entry.keys() - _LIMIT_KEYS):
        raise ValueError(
            f"limit {name}: {', '.join(unknown)} is not known; want {', '.join(sorted(_LIMIT_KEYS))}"
        )
    for key, allowed in (
        ("quantity", QUANTITIES),
        ("of", BASES),
        ("interval_ms", LENGTHS_MS),
    ):
        if entry[key] not in allowed:
            raise ValueError(
                f"limit {name}: {key} is {entry[key]!r}; want one of {', '.join(map(str, allowed))}"
            )
    for key, words in (("period", ("week", "day")), ("flagged", get_args(FlaggedRule))):
        if entry.get(key, words[0]) not in words:
            raise ValueError(f"limit {name}: {key} is {entry[key]!r}; want one of {', '.join(words)}")
    sources = tuple(str(each) for each in entry["sources"])
    other = {int(key): tuple(map(str, each)) for key, each in entry.get("order_sources", {}).items()}
    if strange := [each for group in (sources, *other.values()) for each in group if each not in known]:
        raise ValueError(f"limit {name}: source {strange[0]!r} is not in [sources]")
    percent = _number(f"limit {name}: percent", entry["percent"])
    least = _number(f"limit {name}: least_measured_percent", entry.get("least_measured_percent", 100))
    if not 0 < least <= 100:
        raise ValueError(f"limit {name}: least_measured_percent is {least:g}; want above 0 and to 100")
    for order, low, high in _spans(name, entry):
        try:
            requirement = Requirement(percent, low, high)
        except ValueError as error:
            raise ValueError(f"limit {name}: {error}") from error
        yield Limit(
            name,
            str(entry["quantity"]),
            entry["of"],
            int(entry["interval_ms"]),
            str(entry["clause"]),
            requirement,
            order,
            entry.get("period") == "day",
            entry.get("flagged", "left_out"),
            sources if order is None else other.get(order, sources),
            str(entry.get("note", "")),
            least,
        )


def _spans(name: str, entry: Mapping[str, Any]) -> Iterator[tuple[int | None, float, float]]:
    """(order, low, high) of each limit of an entry."""
    low = _number(f"limit {name}: low", entry.get("low", -math.inf))
    high = _number(f"limit {name}: high", entry.get("high", math.inf))
    if entry["quantity"] != "harmonics_v":
        if not (math.isfinite(low) or math.isfinite(high)):
            raise ValueError(f"limit {name}: neither low nor high is given")
        yield None, low, high
        return
    given: Mapping[str, object] = entry.get("orders", {})
    if not given:
        first, last = int(entry["first_order"]), int(entry["last_order"])
        given = {str(order): high for order in range(first, last + 1)}
    for text, value in given.items():
        order = int(text)
        if not 2 <= order <= MOST_ORDER:
            raise ValueError(f"limit {name}: order {order} is not from 2 to {MOST_ORDER}")
        yield order, -math.inf, _number(f"limit {name}: order {order}", value)


def _number(what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(f"{what} is {value!r}; want a number")
    return float(value)
