"""The span of time that a page shows, from its address: `?from=now-24h&to=now`.

Pure. A moment is `now`, `now-90m` (s, m, h, d, w, y of 365 days), `now/d`, a time in UTC
(`2026-11-22T06:00`) or milliseconds since 1970. A relative moment stays relative in every link, so that a
link stays live.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from opq_cloud.store.trends.pyramid import LONGEST_MS
from opq_proto.kit.typed_time import UNITS_S, typed_ns

UNITS_MS = {unit: 1000 * seconds for unit, seconds in UNITS_S.items()}
SHORTEST_MS = 10_000
LATEST_MS = 7_258_118_400_000
"""The year 2200: nanoseconds of a time far beyond it do not fit what a store can compare."""
DEFAULT = ("now-24h", "now")
PRESETS = ("5m", "1h", "6h", "24h", "7d", "30d", "90d", "1y")
PRESET_WORDS = {
    "5m": "5 minutes",
    "1h": "1 hour",
    "6h": "6 hours",
    "24h": "24 hours",
    "7d": "7 days",
    "30d": "30 days",
    "90d": "90 days",
    "1y": "1 year",
}
_MOMENT = (
    "now, now-24h (s, m, h, d, w or y), now/d (the beginning of the day), a time in UTC such as "
    "2026-11-22T06:00, or ms since 1970"
)


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """Half open, in ms since 1970; `from_words` and `to_words` are those of the address."""

    start_ms: int
    end_ms: int
    from_words: str
    to_words: str

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms

    @property
    def live(self) -> bool:
        """Whether it ends now, at any time."""
        return self.to_words == "now"

    @property
    def query(self) -> str:
        return urlencode({"from": self.from_words, "to": self.to_words})

    def is_preset(self, name: str) -> bool:
        return self.live and self.from_words == f"now-{name}"

    def shifted(self, share: float, now_ms: int) -> "TimeSpan":
        """Moves by a share of its length (below 0: back); a span that would pass the present ends now."""
        by_ms = round(self.length_ms * share)
        if by_ms > 0 and self.end_ms + by_ms >= now_ms:
            return _ending_now(self.length_ms, now_ms)
        return _absolute(self.start_ms + by_ms, self.end_ms + by_ms)

    def zoomed_out(self, now_ms: int) -> "TimeSpan":
        """A span twice as long, with the same middle; a live one stays live."""
        length_ms = min(2 * self.length_ms, LONGEST_MS)
        if self.live:
            return _ending_now(length_ms, now_ms)
        start_ms = max(0, self.start_ms - (length_ms - self.length_ms) // 2)
        return _absolute(start_ms, start_ms + length_ms)


def preset(name: str) -> str:
    """The query of a preset."""
    return urlencode({"from": f"now-{name}", "to": "now"})


def read_span(from_words: str, to_words: str, now_ms: int) -> TimeSpan:
    """Reads a span. Raises ValueError, in words for people, where it is not one of 10 s to 5.5 years."""
    start_ms, end_ms = read_time_ms("from", from_words, now_ms), read_time_ms("to", to_words, now_ms)
    if not SHORTEST_MS <= end_ms - start_ms <= LONGEST_MS:
        raise ValueError(
            f"from {from_words} to {to_words} is not a span that can be shown; from must be 10 s "
            f"to {LONGEST_MS // UNITS_MS['d']} days before to"
        )
    if start_ms < 0 or end_ms > LATEST_MS:
        raise ValueError(f"from {from_words} to {to_words} is not between 1970 and 2200")
    return TimeSpan(start_ms, end_ms, from_words, to_words)


def read_time_ms(name: str, words: str, now_ms: int) -> int:
    """A moment in ms since 1970, with parts of a second. Raises ValueError, in words for people."""
    if words.isascii() and words.isdigit() and len(words) <= 14:
        return int(words)
    try:
        found_ms = typed_ns(words, now_ms * 1_000_000, name == "to") // 1_000_000
    except ValueError:
        raise ValueError(f"{name} is {words[:40]!r}; want {_MOMENT}") from None
    return found_ms if words.startswith("now") else max(0, found_ms)


def _absolute(start_ms: int, end_ms: int) -> TimeSpan:
    return TimeSpan(start_ms, end_ms, input_words(start_ms), input_words(end_ms))


def _ending_now(length_ms: int, now_ms: int) -> TimeSpan:
    count, unit = max(1, round(length_ms / 1000)), "s"
    for name in ("m", "h", "d"):  # the longest unit of which the length is a whole multiple
        if length_ms % UNITS_MS[name] == 0:
            count, unit = length_ms // UNITS_MS[name], name
    return TimeSpan(now_ms - length_ms, now_ms, f"now-{count}{unit}", "now")


def utc_words(words: str, zone: ZoneInfo) -> str:
    """What a person typed by the clock of a zone as words of an address, in UTC; other words stay."""
    return _by_clock(words, zone, UTC)


def zone_words(words: str, zone: ZoneInfo) -> str:
    """The words of an address as the clock of a zone shows them, for the field of a form."""
    return _by_clock(words, UTC, zone)


def _by_clock(words: str, stated: tzinfo, shown: tzinfo) -> str:
    """A time without a zone, stated by one clock, as the other shows it; other words stay."""
    try:
        found = None if words.isdigit() else datetime.fromisoformat(words)
    except ValueError:
        return words
    if found is None or found.tzinfo is not None or not 1970 < found.year < 2200:
        return words
    return found.replace(tzinfo=stated).astimezone(shown).strftime("%Y-%m-%dT%H:%M:%S")


def input_words(moment_ms: int) -> str:
    """UTC in the form of `<input type="datetime-local">`."""
    return datetime.fromtimestamp(moment_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
