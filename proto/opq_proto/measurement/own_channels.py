"""Channels of a user's program on a Box (docs/box-program.md): metrics `own_<name>_<unit>` of a Measurement.

The firmware's rule for both is `opq_channel_is_named` (device/cmodules/link/messages.h).
"""

import re
from dataclasses import dataclass

from opq_proto.measurement.fields import MOST_OTHER

NAME = re.compile(r"[a-z][a-z0-9_]{0,15}")
UNIT = re.compile(r"[a-z][a-z0-9]{0,7}")
PREFIX = "own_"
KEY = re.compile(rf"{PREFIX}({NAME.pattern})_({UNIT.pattern})")
CHANNELS = 8
"""Most channels of a Box at a time."""
DIGITS = 3
COLUMN_ENDS = ("min", "max")
"""Not units: `own_oil_c_min` is the minimum of `own_oil_c`."""
_SHOWN_UNITS = {
    **{"v": "V", "mv": "mV", "kv": "kV", "a": "A", "ma": "mA", "w": "W", "kw": "kW", "va": "VA"},
    **{"hz": "Hz", "khz": "kHz", "db": "dB", "c": "°C", "degc": "°C", "k": "K", "pa": "Pa", "hpa": "hPa"},
    **{"deg": "°", "percent": "%", "count": "", "ratio": ""},
}
"""Units that are written otherwise on pages than in names; the others as they are."""


@dataclass(frozen=True, slots=True)
class OwnChannel:
    """A channel as pages show it."""

    key: str
    words: str
    unit: str


def own_key(name: str, unit: str) -> str | None:
    """The metric of a channel; None: its name or unit is not one."""
    return f"{PREFIX}{name}_{unit}" if NAME.fullmatch(name) and UNIT.fullmatch(unit) else None


def kept_key(name: str, unit: str, value: float) -> str | None:
    """The metric under which a gateway keeps a value; None: it drops it."""
    return own_key(name, unit) if unit not in COLUMN_ENDS and abs(value) <= MOST_OTHER else None


def own_channel(key: str) -> OwnChannel | None:
    """The channel of a metric; None: it is another metric."""
    found = KEY.fullmatch(key)
    if found is None or found[2] in COLUMN_ENDS:
        return None
    return OwnChannel(key, found[1].replace("_", " ").capitalize(), _SHOWN_UNITS.get(found[2], found[2]))
