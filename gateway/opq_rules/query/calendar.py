"""Where windows end: multiples of a length within the next larger unit of natural time.

10 s windows end at :10, :20 ...; hours and days go by local time. A length that does not divide its larger
unit gives a shorter last window in it: 7 s windows end at :07 ... :56, :00. Source: reference/rules.md, D.2.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
_LARGER_MS = {"MS": SECOND_MS, "SS": MINUTE_MS, "MI": HOUR_MS, "HH": DAY_MS, "DD": DAY_MS}
_UNITS_MS = (SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS)
_LEAST_MS, _MOST_MS = -62_000_000_000_000, 253_000_000_000_000
"""The years 5 and 9987: zones are known between, and hold beyond."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Boundaries every `length_ms`, counted again at each multiple of `unit_ms`; Unix ms.

    `zone`: whose midnight; None is the machine's.
    """

    length_ms: int
    unit_ms: int
    zone: tzinfo | None = UTC

    @classmethod
    def of(cls, unit: str | None, length_ms: int, zone: tzinfo | None = None) -> "Ends":
        larger_ms = _LARGER_MS[unit or "MS"]
        for unit_ms in _UNITS_MS:
            if unit_ms >= larger_ms and unit_ms >= length_ms:
                return cls(length_ms, unit_ms, zone)
        whole_days_ms = -(-length_ms // DAY_MS) * DAY_MS  # days are counted from 1970-01-01
        return cls(length_ms, whole_days_ms, zone)

    def at_or_before(self, ms: int) -> int:
        """The last boundary that is not after `ms`."""
        local_ms = ms + self._offset_ms(ms)
        rest_ms = local_ms % self.unit_ms
        found = local_ms - rest_ms + rest_ms // self.length_ms * self.length_ms
        return min(self._unix_ms(found), ms)

    def after(self, ms: int) -> int:
        """The first boundary after `ms`."""
        local_ms = ms + self._offset_ms(ms)
        start_ms = local_ms - local_ms % self.unit_ms
        steps = (local_ms - start_ms) // self.length_ms + 1
        found = min(start_ms + steps * self.length_ms, start_ms + self.unit_ms)
        unix_ms = self._unix_ms(found)
        return unix_ms if unix_ms > ms else ms + self.length_ms  # an hour that is there twice

    def _unix_ms(self, local_ms: int) -> int:
        return local_ms - self._offset_ms(local_ms - self._offset_ms(local_ms))

    def _offset_ms(self, ms: int) -> int:
        if self.unit_ms < HOUR_MS or self.zone is UTC:
            return 0  # no zone is off by a part of a minute any more
        known_ms = min(max(ms, _LEAST_MS), _MOST_MS)
        offset = datetime.fromtimestamp(known_ms / 1_000, UTC).astimezone(self.zone).utcoffset()
        assert offset is not None
        return int(offset.total_seconds() * 1_000)
