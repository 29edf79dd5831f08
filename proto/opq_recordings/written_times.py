"""Times as people, spreadsheets and loggers write them: one function for every reader. Pure.

Dates with names of months or numbers, clocks of 12 or 24 hours, zones. A text that is not understood is None.
With an unknown zone the time is unknown, but the clock still shows the time between two rows.
"""

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from opq_proto.time_units import DAY_NS, NS_PER_S
from opq_recordings.moments import EPOCH_DAY, MAX_START_NS, zone_minutes

FIRST_YEAR_OF_1900S = 70
"""Two-digit years mean 1970 to 2069."""
MONTH_NAMES = (
    "jan january januar janvier janv enero ene janeiro gennaio gen январь января янв styczen sty ιαν",
    "feb february februar fevrier fevr febrero fevereiro fev febbraio февраль февраля фев φεβ luty lut",
    "mar march marz maerz mrz mars marzo marco март марта мар marzec μαρ maart",
    "apr april avril avr abril abr aprile апрель апреля апр kwiecien kwi απρ",
    "may mai mayo maio maggio mag maj май мая μαι mei",
    "jun june juni juin junio junho giugno giu июнь июня июн czerwiec cze ιουν",
    "jul july juli juillet juil julio julho luglio lug июль июля июл lipiec lip ιουλ",
    "aug august aout agosto ago август августа авг sierpien sie αυγ augustus",
    "sep sept september septembre septiembre setembro set settembre сентябрь сентября сен wrzesien wrz σεπ",
    "oct okt october oktober octobre octubre outubro out ottobre ott октябрь октября окт pazdziernik paz",
    "nov november novembre noviembre novembro ноябрь ноября ноя listopad lis νοε",
    "dec dez december dezember decembre diciembre dic dezembro dicembre декабрь декабря дек grudzien gru δεκ",
)
"""In small letters, without accents."""
MONTHS = {name: number for number, names in enumerate(MONTH_NAMES, 1) for name in names.split()}
MORNING = ("am", "a.m.", "a. m.", "a.m", "vorm.", "上午", "午前", "오전", "πμ", "π.μ.", "ص", "ق.ظ", "дп")
AFTERNOON = ("pm", "p.m.", "p. m.", "p.m", "nachm.", "下午", "午後", "오후", "μμ", "μ.μ.", "م", "ب.ظ", "пп")
"""Halves of the day of a 12-hour clock."""
UTC_NAMES = ("z", "utc", "gmt", "ut", "zulu", "etc/utc", "etc/gmt", "всв", "协调世界时")
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d*))?)?(?: ?(Z|UTC|[+-]\d\d:?\d\d))?"
)
_COMPACT = re.compile(r"(\d{8})T(\d\d)(\d\d)(\d\d)?(\D.*|)", re.IGNORECASE)
_POINTS = re.compile(
    r"(?P<before>.*?\S)[T,\s]+(?:(?:kl|klo|ore|um)\.?\s+)?(?P<hour>[01]?\d|2[0-4])\.(?P<minute>[0-5]\d)"
    r"(?:\.(?P<second>[0-5]\d|60)(?P<fraction>[.,]\d*)?)?(?P<rest>(?:\s.*)?)",
    re.IGNORECASE,
)
"""A date and a clock with points, as in Finland, Denmark and Italy."""
CLOCK_WITH_POINTS = re.compile(r"(?:[01]?\d|2[0-4])\.[0-5]\d(?:\.(?:[0-5]\d|60)(?:[.,]\d*)?)?")
_DIGITS = re.compile(
    r"(?P<date>(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?P<clock>(?:[01]\d|2[0-4])(?:[0-5]\d){1,2})"
    r"(?:[.,]?(?P<fraction>\d{1,9}))?"
)
_HALF = "|".join(re.escape(each) for each in sorted((*MORNING, *AFTERNOON), key=len, reverse=True))
_CLOCK = re.compile(
    rf"(?P<before>.*?)(?:\b|(?<=[T:_]))(?:(?P<half>{_HALF})\s*)?(?P<hour>\d{{1,2}})(?P<mark>[:h时時点點])(?P<minute>\d\d)"
    rf"(?:[:m分](?P<second>\d\d)(?:[.,:](?P<fraction>\d*))?s?秒?|\.(?P<tenths>\d+))?\s*(?:(?P<after>{_HALF})(?!\w))?"
    r"(?P<rest>.*)",
    re.IGNORECASE,
)
_MAY_BE_CLOCK = re.compile(r"[:时時点點]|\dh\d|T\d{4}", re.IGNORECASE)
_MAY_BE_DATE = re.compile(r"\d{1,4}\s?[-/.年]\s?\d{1,3}(?:[-/.月]\d|\b)|.*[^\W\d_]{3}")
"""A clock has one of its marks; a date has three numbers, or a name of a month."""
_SPAN_END = r"(?:\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}[ T]+)?\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?[ap]m)?Z?"
_TIME_SPAN = re.compile(
    rf"(?P<begin>{_SPAN_END})(?:\s+-\s+|\s*(?:[–—/]|\.\.+|\b(?:to|till|until|bis|bis zu|à)\b)\s*"
    rf"|-(?=1[3-9]:|2[0-4]:|\d\d:(?!00|30)|00:))(?P<end>{_SPAN_END})",
    re.IGNORECASE,
)
"""Two times in one cell. `00:30-01:00` is a time with its zone; none is 15 min, or more than 12 h,
behind UTC."""
_CLOCK_AND_ZONE = re.compile(r"\b(\d{1,2}:\d\d)(?::00)?-(\d\d:\d\d)\b")
_ZONE_NAMES = re.compile(r"[a-z][a-z_+-]*(?:/[a-z0-9_+-]+)+", re.IGNORECASE)
_WEEKDAY = re.compile(
    r"^(?:mon|tue|wed|thu|fri|sat|sun|mo|di|mi|do|fr|sa|so|пн|вт|ср|чт|пт|сб|вс)[a-z]*[.,]?\s+(?=\S)",
    re.IGNORECASE,
)


def time_span_in(text: str) -> tuple[str, str] | None:
    """A span of time in a text, such as `00:00 - 00:15`, and its begin; None where there is none, or a time
    stands beside it."""
    found = _TIME_SPAN.search(text)
    if found is None or _CLOCK.match(text[: found.start()]) or _CLOCK.match(text[found.end() :]):
        return None
    return found[0], found["begin"]


def chained_span_in(lines: Sequence[str]) -> tuple[int, str, str] | None:
    """Index of a line, its span such as `00:30-01:00`, and the begin, where the lines after it go on where it
    ends; None where the second clock is a zone."""
    found = [_CLOCK_AND_ZONE.search(line) for line in lines]
    follows = [
        one is not None and other is not None and one[2] == other[1].zfill(5)
        for one, other in itertools.pairwise(found)
    ]
    if len(follows) < 2 or 2 * sum(follows) < len(follows) or not any(follows):
        return None
    at = follows.index(True)
    written = found[at]
    ends = {each[2] for each in found if each is not None}
    return None if written is None or len(ends) < 3 else (at, written[0], written[1])


@dataclass(frozen=True, slots=True)
class WrittenTime:
    """A time as it is written."""

    clock_ns: int
    """Of the written clock since 1970 as if it were UTC; of a clock without a date, since midnight."""
    t_ns: int | None
    """UTC since 1970; None where it is not known."""
    zone: bool = False
    """Whether it states its zone."""
    dated: bool = True
    problem: str | None = None
    """Why it is not known though it has a date."""
    leap: bool = False
    """Whether it lies within a leap second, 23:59:60."""
    zone_name: str = ""
    """The zone as it is written."""


def written_time(text: str, date_order: str = "") -> WrittenTime | None:
    """A date, a clock, or both, to a nanosecond; None for anything else.

    17.03.2024 is day first; of 03/17/2024 the number above 12 is the day, and 03/04/2024 does not say
    which one it is. Second 60 is a leap second, 24:00:00 is the next midnight.

    Args:
        date_order: `dmy`, `mdy` or `ymd`, of dates such as 03/04/2024; empty: by what they say themselves.
    """
    if match := _ISO.fullmatch(text):
        year, month, day, hour, minute, second, fraction, zone = match.groups()
        days = _days(int(year), int(month), int(day))
        return _time(days, int(hour), int(minute), second, fraction, zone or "", days is not None)
    plain = text.strip().strip('"').strip()
    if not 5 <= len(plain) <= 60 or sum(each.isdigit() for each in plain) < 3:
        return None
    if not (_MAY_BE_CLOCK.search(plain) or _MAY_BE_DATE.match(plain)):
        return None  # most texts that are asked for are numbers
    if not plain.isascii():
        plain = _without_accents(plain)
    if compact := _COMPACT.fullmatch(plain):
        plain = f"{compact[1]} {compact[2]}:{compact[3]}:{compact[4] or '00'}{compact[5]}"
    plain = with_colons(plain)
    match = _CLOCK.fullmatch(plain)
    if match is None:
        day_only = _date_of(plain, date_order) if re.search(r"\D", plain) else None
        return None if day_only is None else _time(day_only[0], 0, 0, None, None, "", day_only[1])
    hour, minute, second, fraction = match["hour"], match["minute"], match["second"], match["fraction"]
    if match["tenths"] is not None:  # minutes and seconds, as spreadsheets show them
        if match["mark"] != ":":
            return None
        hour, minute, second, fraction = "0", hour, minute, match["tenths"]
    rest, day = match["rest"].strip(), match["before"]
    if (year := re.fullmatch(r"(\D*?)\s*(\d{4})", rest)) and not re.search(r"\d{4}", day):
        day, rest = f"{day} {year[2]}", year[1]  # Mar 17 10:00:00 UTC 2024
    half = (match["half"] or match["after"] or "").lower()
    hours = int(hour)
    if half:
        hours = hours % 12 + 12 * (half in AFTERNOON) if hours <= 12 else hours  # some write 13:00 PM
    day = _WEEKDAY.sub("", day.strip().removesuffix("T").removesuffix("t").rstrip(" ,:_-"))
    if not day:
        if match["before"].strip(" T"):
            return None  # a sign before the clock
        return _time(None, hours, int(minute), second, fraction, rest, False, dated=False)
    found = _date_of(day, date_order)
    return None if found is None else _time(found[0], hours, int(minute), second, fraction, rest, found[1])


def with_colons(text: str) -> str:
    """A date and a clock with points, such as `13.4.2026 9.30`, with colons; any other text as it is."""
    found = _POINTS.fullmatch(text)
    if found is None or _date_of(_WEEKDAY.sub("", found["before"]), "") is None:
        return text
    clock = ":".join(each for each in (found["hour"], found["minute"], found["second"]) if each)
    return f"{found['before']} {clock}{found['fraction'] or ''}{found['rest']}"


def with_half(clock: str, half: str) -> str:
    """`10:00 PM` of a clock and a cell beside it; the clock alone where it says AM or PM itself."""
    return clock if not half or clock.lower().endswith((*MORNING, *AFTERNOON)) else f"{clock} {half}"


def time_of_digits(text: str) -> str | None:
    """The date and clock of digits alone, such as `20261025020000.250`; None for another number."""
    found = _DIGITS.fullmatch(text)
    if found is None or (found["fraction"] and len(found["clock"]) < 6):
        return None
    clock = ":".join(found["clock"][at : at + 2] for at in range(0, len(found["clock"]), 2))
    fraction = f".{found['fraction']}" if found["fraction"] else ""
    shown = f"{found['date']} {clock}{fraction}"
    return shown if written_time(shown) is not None else None


def _time(
    days: int | None,
    hour: int,
    minute: int,
    second: str | None,
    fraction: str | None,
    zone: str,
    certain: bool,
    dated: bool = True,
) -> WrittenTime | None:
    seconds = int(second or 0)
    midnight = (hour, minute, seconds) == (24, 0, 0)
    if (dated and days is None) or not (hour <= 23 or midnight) or minute > 59 or seconds > 60:
        return None
    of_day_ns = (hour * 3600 + minute * 60 + seconds) * NS_PER_S + int((fraction or "0")[:9].ljust(9, "0"))
    clock_ns = (days or 0) * DAY_NS + of_day_ns
    leap = seconds == 60
    ahead = _minutes_ahead(zone.strip(" ()"), clock_ns)
    if ahead is None:
        return None
    stated, minutes = ahead
    if not dated:
        return WrittenTime(clock_ns, None, dated=False, leap=leap)
    if not certain:
        return WrittenTime(clock_ns, None, problem="which number is the day is not known", leap=leap)
    if minutes is None:
        name = zone.strip(" ()")
        return WrittenTime(
            clock_ns, None, True, problem=f"its zone {name!r:.30} is not known", leap=leap, zone_name=name
        )
    t_ns = clock_ns - minutes * 60 * NS_PER_S
    if not 0 <= t_ns <= MAX_START_NS:
        return WrittenTime(clock_ns, None, stated, problem="it is not from 1970 to 2115", leap=leap)
    return WrittenTime(clock_ns, t_ns, stated, leap=leap)


def _minutes_ahead(zone: str, clock_ns: int) -> tuple[bool, int | None] | None:
    """Whether a zone is stated, and its minutes ahead of UTC, None if unknown; None: it is not a zone."""
    if not zone:
        return False, 0
    text = zone.lower()
    if (bracket := re.fullmatch(r"(\S+)\s*\[[^\]]+\]", text)) is not None:
        text = bracket[1]
    text = text.strip("[]")
    if text in UTC_NAMES:
        return True, 0
    if found := re.fullmatch(r"(?:(?:utc|gmt|z)\s*)?([+-])(\d{1,2})(?::?(\d\d))?", text):
        minutes = zone_minutes(f"{found[1]}{found[2]}:{found[3] or '00'}")
        return True, minutes
    if _ZONE_NAMES.fullmatch(text):
        return True, _of_place(zone.strip("[]"), clock_ns // (900 * NS_PER_S))
    return (True, None) if re.fullmatch(r"[^\W\d_][\w .()+-]*", text) else None


@lru_cache(256)
def _of_place(name: str, quarter: int) -> int | None:
    """Minutes ahead of UTC when that place's clock shows this quarter of an hour.

    None where the place is not known, or its clock showed this twice or never.
    """
    try:
        zone = ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return None
    local = datetime(1970, 1, 1) + timedelta(minutes=15 * quarter)
    ahead = {local.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)}
    if len(ahead) != 1 or (offset := ahead.pop()) is None:
        return None
    return int(offset.total_seconds()) // 60


def _date_of(text: str, order: str) -> tuple[int | None, bool] | None:
    """Days since 1970 and whether the date is certain; None for no date."""
    text = text.strip(" ,")
    if found := re.fullmatch(r"(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})日?", text):
        return _days(int(found[1]), int(found[2]), int(found[3])), True
    if found := re.fullmatch(r"(\d{4})(\d\d)(\d\d)", text):
        return _days(int(found[1]), int(found[2]), int(found[3])), True
    if found := re.fullmatch(r"(\d{4})[-:](\d{3})", text):  # day of the year
        first = _days(int(found[1]), 1, 1)
        return (None if first is None else first + int(found[2]) - 1), 1 <= int(found[2]) <= 366
    if found := re.fullmatch(r"(\d{1,2})([/.-])(\d{1,2})[/.-](\d{4}|\d{2})", text):
        numbers = (found[1], found[3], found[4])
        return _in_order(numbers, order) if order else _of_numbers(numbers, found[2] == ".")
    words = [
        each for each in re.split(r"[\s,./_-]+|(?<=\d)(?=[^\W\d])|(?<=[^\W\d])(?=\d)", text.lower()) if each
    ]
    words = [each for each in words if each not in ("of", "de", "st", "nd", "rd", "th", "г")]
    months = [MONTHS[each] for each in map(_without_accents, words) if each in MONTHS]
    figures = [each for each in words if each.isdecimal()]
    if len(months) != 1 or len(figures) != 2 or len(words) != 3:
        return None
    day, year = (figures[1], figures[0]) if len(figures[0]) == 4 else (figures[0], figures[1])
    if len(day) > 2 or len(year) not in (2, 4):
        return None
    return _days(_year(year), months[0], int(day)), True


def _in_order(numbers: tuple[str, str, str], order: str) -> tuple[int | None, bool]:
    if order == "ymd" and len(numbers[2]) > 2:
        return None, True
    named = dict(zip(order, numbers, strict=True))
    return _days(_year(named["y"]), int(named["m"]), int(named["d"])), True


def _of_numbers(numbers: tuple[str, str, str], dots: bool) -> tuple[int | None, bool]:
    a, b, year = int(numbers[0]), int(numbers[1]), numbers[2]
    day, month = (a, b) if dots or a > 12 else (b, a)
    certain = dots or a > 12 or b > 12 or a == b
    if len(year) == 2 and not dots and a > 12:
        certain = False  # 24/03/17 may begin with its year
    return _days(_year(year), month, day), certain


def _year(text: str) -> int:
    return int(text) if len(text) == 4 else int(text) + (1900 if int(text) >= FIRST_YEAR_OF_1900S else 2000)


def _days(year: int, month: int, day: int) -> int | None:
    try:
        return date(year, month, day).toordinal() - EPOCH_DAY
    except ValueError:
        return None


def _without_accents(text: str) -> str:
    split = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", re.sub(r"[\u0300-\u036f]", "", split)).lower()


def shown(t_ns: int) -> str:
    """ISO 8601 in UTC, to a second, for a message."""
    return datetime.fromtimestamp(t_ns // NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
