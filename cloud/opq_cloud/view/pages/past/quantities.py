"""What `/past` shows over time: each quantity, with its place in the trends and in class A intervals."""

from dataclasses import dataclass
from typing import Final

from opq_proto.measurement.fields import BY_KEY, DRAWN, LAST_HARMONIC, ShownQuantity, titled
from opq_proto.measurement.intervals import TEN_MINUTES_MS, TEN_SECONDS_MS, TWO_HOURS_MS
from opq_proto.measurement.own_channels import DIGITS, own_channel


@dataclass(frozen=True, slots=True, kw_only=True)
class PastQuantity:
    """A quantity; a value in `unit` is that of trends or intervals times `factor`."""

    name: str
    """Its name in an address."""
    words: str
    unit: str
    digits: int
    factor: float = 1.0
    key: str = ""
    """Metric of the trends; empty: the trends do not have it."""
    interval: str = ""
    """Quantity of class A; empty: class A does not have it."""
    ends: tuple[str, str] = ("", "")
    """The lowest and highest windows within an interval."""
    place: int | None = None
    """Place of the order among the values of an interval."""
    length_ms: int = TEN_MINUTES_MS
    short_ms: int = 0
    """Length of the shorter intervals that state it in reports, where stored; otherwise 0."""
    class_a: bool = False
    """Whether class A is read first."""
    of_changes: bool = False
    """Whether class A has it as the change of the frequency from one interval to the next."""

    @property
    def of_nominal(self) -> bool:
        """Whether class A has it in volts, and pages show it in percent of the nominal voltage."""
        return self.place is not None

    @property
    def title(self) -> str:
        return titled(self.words, self.unit)


_IN_INTERVALS: Final = {
    "rms_v": ("rms_v", ("", ""), 0),
    "f_hz": ("f_hz", ("f_min_hz", "f_max_hz"), TEN_SECONDS_MS),
    "thd_percent": ("thd_ratio", ("", ""), 0),
}
"""`interval`, `ends` and `short_ms` of the drawn quantities that class A has.

A standard judges the voltage and the THD of ten minutes: their windows are not drawn.
"""
_CLASS_A_FIRST: Final = ("thd_percent",)


def drawn_quantity(shown: ShownQuantity, key: str) -> PastQuantity:
    """A quantity with a line over time; `key`: its metric."""
    interval, ends, short_ms = _IN_INTERVALS.get(shown.name, ("", ("", ""), 0))
    return PastQuantity(
        name=shown.name,
        words=shown.words,
        unit=shown.unit,
        digits=shown.digits,
        factor=shown.factor,
        key=key,
        interval=interval,
        ends=ends,
        short_ms=short_ms,
        class_a=shown.name in _CLASS_A_FIRST,
    )


MAIN: Final = (
    *(
        drawn_quantity(each.shown, key)
        for key, each in BY_KEY.items()
        if each.shown is not None and each.shown in DRAWN
    ),
    PastQuantity(name="pst", words="Flicker Pst", unit="", digits=3, key="pst", interval="pst", class_a=True),
    PastQuantity(
        name="plt",
        words="Flicker Plt",
        unit="",
        digits=3,
        interval="plt",
        length_ms=TWO_HOURS_MS,
        class_a=True,
    ),
    PastQuantity(
        name="unbalance_percent",
        words="Unbalance u2",
        unit="%",
        digits=2,
        factor=100.0,
        key="unbalance",
        interval="u2_ratio",
        class_a=True,
    ),
    PastQuantity(
        name="under_percent",
        words="Underdeviation",
        unit="%",
        digits=2,
        factor=100.0,
        interval="under_ratio",
        class_a=True,
    ),
    PastQuantity(
        name="over_percent",
        words="Overdeviation",
        unit="%",
        digits=2,
        factor=100.0,
        interval="over_ratio",
        class_a=True,
    ),
    PastQuantity(name="trans_v", words="Transients", unit="V", digits=1, key="trans"),
    PastQuantity(
        name="rocof",
        words="Change of frequency",
        unit="Hz/s",
        digits=4,
        key="rocof",
        class_a=True,
        of_changes=True,
    ),
)
"""The usual quantities, in the order of the form."""
_ORDERS: Final = (
    *(
        PastQuantity(
            name=f"h{order}",
            words=f"Harmonic {order}",
            unit="%",
            digits=3,
            factor=100.0,
            key=f"h{order}",
            interval="harmonics_v",
            place=order - 1,
            class_a=True,
        )
        for order in range(2, LAST_HARMONIC + 1)
    ),
    *(
        PastQuantity(
            name=f"i{order}",
            words=f"Interharmonic {order}",
            unit="%",
            digits=3,
            factor=100.0,
            interval="interharmonics_v",
            place=order,
            class_a=True,
        )
        for order in range(LAST_HARMONIC)
    ),
)
QUANTITIES: Final = {each.name: each for each in (*MAIN, *_ORDERS)}


def own_quantity(name: str) -> PastQuantity | None:
    """A channel of a Box's program; None: it is not the name of one."""
    channel = own_channel(name)
    if channel is None:
        return None
    return PastQuantity(name=name, words=channel.words, unit=channel.unit, digits=DIGITS, key=name)
