"""Names of units and quantities as recorders, oscilloscopes and spreadsheets write them, Russian ones too.

SI prefixes are case-sensitive.
"""

import re
from typing import Literal

Quantity = Literal["voltage", "current", "other"]
VOLTS = {"n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "K": 1e3, "M": 1e6}
"""The prefixes; `MV` is a megavolt and `mV` a millivolt, but nobody writes kelvin-volts for `KV`."""
SECONDS = {
    "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3,
    "millisecond": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "usec": 1e-6,
    "microsecond": 1e-6, "microseconds": 1e-6, "ns": 1e-9, "nsec": 1e-9, "nanosecond": 1e-9,
    "nanoseconds": 1e-9, "min": 60.0,
}  # fmt: skip
CYRILLIC = str.maketrans({"В": "V", "в": "v", "А": "A", "а": "a", "к": "k", "К": "K", "м": "m", "М": "M"})
"""`кВ` and `А` look like `kB` and `A`, and are kilovolts and amperes."""
PREFIX_WORDS = {"micro": "u", "milli": "m", "kilo": "k", "mega": "M", "nano": "n"}
_UNIT = re.compile(
    r"(?P<word>micro|milli|kilo|mega|nano)?(?P<prefix>[nuµμmkKM]?)"
    r"(?P<base>v(?:olts?)?|a(?:mp(?:ere)?s?)?)(?P<kind>[ _.-]?(?:rms|ac|dc|peak|pk|ll|ln))?",
    re.IGNORECASE,
)

_VOLTAGE = re.compile(
    r"(?i)^(volts?|voltage.*|.*\bvoltage\b.*|spannung.*|tension.*|u|v|vac|ampl(itude)?"
    r"|[uv][_ ]?(l?\d|[abcnr]|an|bn|cn|ab|bc|ca|ln|rms|mains|grid|in|out)(?![a-z]).*)$"
)
_CURRENT = re.compile(r"(?i)^(amps?|current.*|.*\bcurrent\b.*|strom.*|i|i[_ ]?(l?\d|[abcn])(?![a-z]).*)$")
_OTHER = re.compile(
    r"(?i)^(freq.*|.*[_ ]freq(uency)?|frequenz.*|hz|rocof.*|((active|reactive|apparent|real)[_ ]?)?power.*"
    r"|leistung.*|energy.*|watts?|temp|temperature.*|humidity.*|thd.*|cos[_ ]?phi.*|(phase[_ ]?)?angle.*)$"
)


def unit_scale(text: str) -> tuple[Quantity, float] | None:
    """The quantity and the scale to volts or amperes; None for a name that is not understood.

    `mv` is a millivolt, `KV` and `kv` are kilovolts, `MV` is a megavolt.
    """
    name = re.sub(r"[\[\](){}\s\x00]", "", text).replace("мк", "u").translate(CYRILLIC)
    found = _UNIT.fullmatch(name)
    if found is None:
        return None
    prefix = PREFIX_WORDS[found["word"].lower()] if found["word"] else found["prefix"]
    if prefix in ("N", "U"):
        prefix = prefix.lower()
    scale = VOLTS.get(prefix)
    if scale is None:
        return None
    return ("voltage" if found["base"][0] in "vV" else "current"), scale


def side_units(text: str) -> tuple[str, str] | None:
    """The units of the secondary and the primary side in `В/кВ`; None where it is not such a pair."""
    secondary, slash, primary = text.partition("/")
    known = [unit_scale(secondary), unit_scale(primary)]
    if not slash or None in known or known[0][0] != known[1][0]:  # type: ignore[index]
        return None
    return secondary.strip(), primary.strip()


def quantity_named(name: str) -> Quantity | None:
    """The quantity that the name of a column or variable states; None where it states none."""
    if _VOLTAGE.match(name):
        return "voltage"
    if _CURRENT.match(name):
        return "current"
    return "other" if _OTHER.match(name) else None


def known_units() -> str:
    """The units of a voltage, for a message."""
    return "uV, mV, V, kV or MV"


def seconds_of(text: str) -> float | None:
    """Seconds of a unit of time; None where the name is not understood."""
    return SECONDS.get(re.sub(r"[\[\](){}\s]", "", text).lower())
