"""A GPS receiver as a Box sees it: one pulse per second, and text that names the second before it.

Seconds are true seconds since power-on; the oscillator converts them to virtual time. The receiver has the
faults of a real one: it starts cold, loses the sky, jitters, misses pulses, adds some, labels a second
wrongly, inserts a leap second.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from opq_hil.gps.oscillator import Oscillator
from opq_hil.gps.second_messages import FORMS
from opq_proto.time_units import NS_PER_S

START_UTC_S = 1_795_168_800
"""2026-11-20 10:00:00 UTC."""


@dataclass(frozen=True, slots=True)
class Gps:
    """The receiver's behaviour in one run; the default has a fix at once and no fault.

    Spans are half open, in true seconds; single seconds are numbers of pulses (0: the first at or after
    power-on).
    """

    utc_start_ns: int = START_UTC_S * NS_PER_S + 300_000_000
    """UTC at power-on; leap seconds of the run are not in it."""
    fix_s: float = 0.0
    """Cold start: no pulse and no valid text before."""
    outages: tuple[tuple[float, float], ...] = ()
    """No sky: no pulse; text continues, marked void."""
    unplugged: tuple[tuple[float, float], ...] = ()
    """Neither pulse nor text."""
    no_pulse: tuple[tuple[float, float], ...] = ()
    """Text continues, valid, without a pulse."""
    missing: tuple[int, ...] = ()
    glitches: tuple[float, ...] = ()
    """Extra pulses, e.g. (30.25,)."""
    late_ns: tuple[tuple[int, int], ...] = ()
    """(second, ns) by which single pulses come late."""
    wrong_labels: tuple[tuple[int, int], ...] = ()
    """(second, seconds added to its label)."""
    leap_after_utc_s: int | None = None
    """Unix second that starts right after an inserted 23:59:60."""
    leap_seconds: int = 18
    """GPS less UTC before it."""
    jitter_ns: float = 0.0
    """rms of the pulse, normal, independent."""
    seed: int = 1
    form: str = "ubx"
    """"ubx" (NAV-PVT, NAV-TIMELS); "nmea" (RMC, GGA, ZDA), which nothing confirms for 12.5 minutes;
    "ubx_nmea": both, of a receiver that takes no settings; "tim_tp": TIM-TP alone, of the next pulse."""
    text_delay_ns: int = 180_000_000
    """From the true second to the first byte of its text."""
    satellites: int = 9

    @property
    def setting(self) -> str:
        """The Box's setting `gps` for it."""
        return "nmea" if self.form == "nmea" else "ubx"

    def pulses(self, oscillator: Oscillator, end_ns: int) -> list[int]:
        """Virtual times of all rising edges before `end_ns`, glitches among them, in order."""
        chance = random.Random(self.seed)
        late = dict(self.late_ns)
        found = []
        for number, true_ns in self._seconds(oscillator, end_ns):
            error_ns = round(chance.gauss(0.0, self.jitter_ns)) if self.jitter_ns else 0
            if number in self.missing or not self._pulsing(true_ns / NS_PER_S):
                continue
            found.append(oscillator.virtual_ns(true_ns) + error_ns + late.get(number, 0))
        found += [oscillator.virtual_ns(round(at * NS_PER_S)) for at in self.glitches]
        return sorted(edge for edge in found if 0 <= edge < end_ns)

    def text(self, oscillator: Oscillator, end_ns: int) -> list[tuple[int, bytes]]:
        """(virtual time of its first byte, bytes) of every second's text."""
        wrong = dict(self.wrong_labels)
        found = []
        for number, true_ns in self._seconds(oscillator, end_ns):
            true_s = true_ns / NS_PER_S
            if _within(self.unplugged, true_s):
                continue
            valid = true_s >= self.fix_s and not _within(self.outages, true_s)
            moment, in_leap = self._named(number, wrong.get(number, 0))
            said = (moment, in_leap, valid, self.satellites if valid else 0, self._leap_at(number))
            text = b"".join(write(*said) for write in FORMS[self.form])
            found.append((oscillator.virtual_ns(true_ns + self.text_delay_ns), text))
        return [(at, text) for at, text in found if at < end_ns]

    def utc_ns(self, true_ns: int) -> int:
        """UTC of a true time; an inserted second counts as the first of the next minute, twice."""
        utc_ns = self.utc_start_ns + true_ns
        if self.leap_after_utc_s is not None and utc_ns >= (self.leap_after_utc_s + 1) * NS_PER_S:
            return utc_ns - NS_PER_S
        return utc_ns

    def _seconds(self, oscillator: Oscillator, end_ns: int) -> Iterator[tuple[int, int]]:
        """(number, true time) of every second that begins in the run."""
        true_ns = -self.utc_start_ns % NS_PER_S
        number = 0
        while oscillator.virtual_ns(true_ns) < end_ns:
            yield number, true_ns
            number += 1
            true_ns += NS_PER_S

    def _pulsing(self, true_s: float) -> bool:
        dead = self.outages + self.unplugged + self.no_pulse
        return true_s >= self.fix_s and not _within(dead, true_s)

    def _named(self, number: int, wrong_s: int) -> tuple[datetime, bool]:
        """The UTC second that begins with a pulse, and whether it is a 23:59:60 (then it is 23:59:59)."""
        utc_s = -(-self.utc_start_ns // NS_PER_S) + number + wrong_s
        leap = self.leap_after_utc_s
        if leap is not None and utc_s >= leap:
            utc_s -= 1
            if utc_s == leap - 1:
                return datetime.fromtimestamp(utc_s, UTC), True
        return datetime.fromtimestamp(utc_s, UTC), False

    def _leap_at(self, number: int) -> tuple[int, int | None]:
        """GPS less UTC now, and seconds until it grows (None: not announced)."""
        if self.leap_after_utc_s is None:
            return self.leap_seconds, None
        left = self.leap_after_utc_s + 1 - (-(-self.utc_start_ns // NS_PER_S) + number)
        return (self.leap_seconds, left) if left > 0 else (self.leap_seconds + 1, None)


def _within(spans: tuple[tuple[float, float], ...], at_s: float) -> bool:
    return any(start <= at_s < end for start, end in spans)
