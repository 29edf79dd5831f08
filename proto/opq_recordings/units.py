"""The one table of units: symbols and words of several alphabets, with their quantity and scale.

`unit_scale` understands a unit or returns None. `measured_in` is what a reader calls: a unit that is there
and is not understood is another quantity, never a voltage. SI prefixes are case-sensitive.
"""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from opq_recordings.quantity_names import Quantity, quantity_named


class Unit(NamedTuple):
    """The quantity and scale of a unit."""

    quantity: Quantity
    scale: float
    """Of one unit in `si`."""
    si: str
    """`V`, `A`, `s`, `Hz`, `W`, `1` (a share), …; `counts` of a converter, whose gain is not known."""


PREFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
"""`MV` is a megavolt and `mV` a millivolt, but `KV` never means kelvin-volts."""
PREFIX_WORDS = {
    "n": "nano нано 纳 納 ナノ 나노 ναν νανο नैनो نانو ננו นาโน",
    "u": "micro mikro микро мікро 微 マイクロ 마이크로 μικρο माइक्रो ميكرو میکرو מיקרו ไมโคร",
    "m": "milli mili милли мілі мили 毫 ミリ 밀리 μιλι χιλιοστο मिली ملي ميلي میلی מילי มิลลิ",
    "k": "kilo chilo quilo кило кіло 千 キロ 킬로 κιλο χιλιο किलो كيلو کیلو קילו กิโล",
    "M": "mega мега 兆 メガ 메가 μεγα मेगा ميغا ميجا مگا מגה เมกะ",
}
SYMBOLS: dict[str, tuple[Quantity, str, float]] = {
    "Hz": ("other", "Hz", 1.0),
    "hz": ("other", "Hz", 1.0),
    "HZ": ("other", "Hz", 1.0),
    "W": ("other", "W", 1.0),
    "VA": ("other", "VA", 1.0),
    "var": ("other", "var", 1.0),
    "VAR": ("other", "var", 1.0),
    "VAr": ("other", "var", 1.0),
    "Wh": ("other", "Wh", 1.0),
    "VAh": ("other", "VAh", 1.0),
    "varh": ("other", "varh", 1.0),
    "Ohm": ("other", "ohm", 1.0),
    "ohm": ("other", "ohm", 1.0),
    "Ω": ("other", "ohm", 1.0),
    "F": ("other", "F", 1.0),
    "rad": ("other", "rad", 1.0),
    "Pa": ("other", "Pa", 1.0),
    "lx": ("other", "lx", 1.0),
}
"""Symbols that take a prefix, besides those of voltage, current and time."""
PLAIN: dict[str, tuple[str, float]] = {
    "%": ("1", 0.01),
    "percent": ("1", 0.01),
    "prozent": ("1", 0.01),
    "процент": ("1", 0.01),
    "‰": ("1", 1e-3),
    "ppm": ("1", 1e-6),
    "pu": ("1", 1.0),
    "p.u.": ("1", 1.0),
    "p.u": ("1", 1.0),
    "perunit": ("1", 1.0),
    "о.е.": ("1", 1.0),
    "ое": ("1", 1.0),
    "o.e.": ("1", 1.0),
    "1": ("1", 1.0),
    "标幺": ("1", 1.0),
    "标幺值": ("1", 1.0),
    "°": ("degree", 1.0),
    "deg": ("degree", 1.0),
    "degree": ("degree", 1.0),
    "degrees": ("degree", 1.0),
    "grad": ("degree", 1.0),
    "град": ("degree", 1.0),
    "度": ("degree", 1.0),
    "°c": ("°C", 1.0),
    "degc": ("°C", 1.0),
    "c": ("°C", 1.0),
    "℃": ("°C", 1.0),
    "°f": ("°F", 1.0),
    "k": ("K", 1.0),
    "db": ("dB", 1.0),
    "rpm": ("rpm", 1.0),
    "counts": ("counts", 1.0),
    "count": ("counts", 1.0),
    "cnt": ("counts", 1.0),
    "cnts": ("counts", 1.0),
    "lsb": ("counts", 1.0),
    "lsbs": ("counts", 1.0),
    "adc": ("counts", 1.0),
    "adccounts": ("counts", 1.0),
    "digits": ("counts", 1.0),
    "digit": ("counts", 1.0),
    "codes": ("counts", 1.0),
    "code": ("counts", 1.0),
    "raw": ("counts", 1.0),
    "отсчет": ("counts", 1.0),
    "отсчеты": ("counts", 1.0),
}
"""Units without a prefix, in small letters."""
SYMBOLS_OF_TIME = {
    "s": 1.0,
    "sec": 1.0,
    "secs": 1.0,
    "sek": 1.0,
    "sn": 1.0,
    "min": 60.0,
    "mins": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hrs": 3600.0,
    "d": 86400.0,
    "сек": 1.0,
    "мин": 60.0,
    "ч": 3600.0,
}
"""Of time, in small letters, since `MS` and `Sec` are times too; of seconds with a prefix n, u or m."""
WORDS: dict[tuple[Quantity, str, float], str] = {
    ("voltage", "V", 1.0): (
        "volt volts volte volten volti voltio voltios voltti volttia voltai voltov voltu voltos "
        "wolt wolty wolta woltow вольт вольта вольты вольтах вольтов волт волта волти 伏 伏特 "
        "ボルト 볼트 βολτ वोल्ट فولت فولط ولت וולט โวลต์ von"
    ),
    ("current", "A", 1.0): (
        "amp amps ampere amperes amperio amperios amper ampery amperow ampeeri ampeeria ампер "
        "ампера амперы амперах амперов 安 安培 アンペア 암페어 αμπερ एम्पीयर أمبير امبير آمپر "
        "אמפר แอมแปร์ ampe"
    ),
    ("other", "s", 1.0): (
        "second seconds seconde secondes secondo secondi segundo segundos sekunde sekunden sekund "
        "sekunda sekundy sekunder sekunti sekuntia secunda secunde saniye masodperc mp giay "
        "секунда секунды секунд секундах секунди 秒 秒钟 초 δευτερολεπτο δευτερολεπτα δευτ सेकंड "
        "सेकण्ड ثانية ثواني ثانیه שניה שנייה שניות วินาที"
    ),
    (
        "other",
        "s",
        60.0,
    ): "minute minutes minuten minuto minutos minuti минута минуты минут 分 分钟 分鐘 분 λεπτα",
    ("other", "s", 3600.0): ("hour hours stunde stunden heure heures hora horas час часы часов 小时 小時"),
    ("other", "s", 86400.0): ("day days tag tage jour jours дней день 天"),
    ("other", "Hz", 1.0): ("hertz герц 赫 赫兹 赫茲 ヘルツ 헤르츠 χερτζ हर्ट्ज هرتز הרץ เฮิรตซ์"),
    ("other", "W", 1.0): ("watt watts wat waty ватт ватты 瓦 瓦特 ワット 와트 βατ वाट واط وات ואט วัตต์"),
}
"""Words in small letters, without accents."""
NO_UNIT = ("", "none", "-", "--", "n/a", "na", "nil", "?", "null", "unknown", "no unit", "без")
"""Texts in place of a unit that do not state one."""
TO_LATIN = str.maketrans(
    "ВвАакКмМнсГСΑκΚΜμµ",
    "VvAakKmMnsGSAkKMuu",
)
"""Cyrillic and Greek letters of symbols: `кВ` looks like `kB` and is a kilovolt, `мс` is a millisecond."""
CYRILLIC = (
    ("мкс", "us"),
    ("мк", "u"),
    ("Гц", "Hz"),
    ("гц", "Hz"),
    ("Вт", "W"),
    ("вар", "var"),
    ("Ом", "Ohm"),
)
_KIND = r"(?:[ _.-]?(?:rms|r\.m\.s\.|ac|dc|peak|pk|ll|ln|l-l|l-n|eff))?"
_VOLTS = re.compile(rf"(?P<prefix>[nuµμmkKM]?)(?P<base>[va]){_KIND}", re.IGNORECASE)
_PRODUCT = re.compile(r"(?<=[Vv])[.·⋅∙•*x×-](?=A(?:h|$))")
"""Between the letters of `V.A`."""
_SYMBOL = re.compile(rf"(?P<prefix>[numkKMG]?)(?P<base>{'|'.join(sorted(SYMBOLS, key=len, reverse=True))})")
_OF_WORDS = {word: stands_for for stands_for, words in WORDS.items() for word in words.split()}
_BY_WORD = re.compile(
    rf"(?P<prefix>{'|'.join(w for words in PREFIX_WORDS.values() for w in words.split())}|[numkμ]?)[ -]?"
    rf"(?P<base>{'|'.join(sorted(_OF_WORDS, key=len, reverse=True))}){_KIND}"
)
_PREFIX_OF_WORD = {word: prefix for prefix, words in PREFIX_WORDS.items() for word in words.split()}


@lru_cache(4096)
def unit_scale(text: str) -> Unit | None:
    """The quantity and the scale of a unit; None where it is not understood.

    `mv` is a millivolt, `KV`, `kv`, `кВ`, `千伏` and `kilovolts` are kilovolts, `MV` is a megavolt.
    """
    plain = _plain(text)
    if len(plain) > 40:
        return None
    symbol = plain
    for cyrillic, latin in CYRILLIC:
        symbol = symbol.replace(cyrillic, latin)
    symbol = _PRODUCT.sub("", symbol.translate(TO_LATIN))
    if found := _VOLTS.fullmatch(symbol):
        prefix = found["prefix"]
        scale = PREFIXES[prefix.lower() if prefix in "NU" else prefix]
        return Unit("voltage", scale, "V") if found["base"] in "vV" else Unit("current", scale, "A")
    word = plain.lower()
    if (second := SYMBOLS_OF_TIME.get(word) or _seconds(symbol.lower())) is not None:
        return Unit("other", second, "s")
    if found := _SYMBOL.fullmatch(symbol):
        quantity, si, scale = SYMBOLS[found["base"]]
        return Unit(quantity, scale * PREFIXES[found["prefix"]], si)
    if word in PLAIN:
        return Unit("other", PLAIN[word][1], PLAIN[word][0])
    if found := _BY_WORD.fullmatch(word):
        quantity, si, scale = _OF_WORDS[found["base"]]
        prefix = _PREFIX_OF_WORD.get(found["prefix"]) or symbol[: len(found["prefix"])]
        if prefix and scale != 1.0:
            return None  # kilohours are not used
        return Unit(quantity, scale * PREFIXES[prefix], si)
    return None


def measured_in(unit: str | None, name: str = "") -> tuple[str | None, Quantity | None, float | None]:
    """What the values of a channel are, by the unit that its file states and by its name.

    Returns:
        The unit as it is shown, None where the file states none; the quantity, None where it is not known
        it; and the scale to volts or amperes, None for counts of a converter, whose gain is not known.
        A unit that is there and is not understood is of another quantity, whatever the name says.
    """
    shown = None if unit is None else unit.strip(" \t\r\n\0")
    if not shown or shown.lower().strip("[](){} ") in NO_UNIT:
        return None, quantity_named(name), 1.0
    known = unit_scale(shown)
    if known is None:
        return shown, "other", 1.0
    if known.si == "counts":
        return shown, quantity_named(name), None
    return shown, known.quantity, known.scale if known.quantity != "other" else 1.0


def is_share(unit: str | None) -> bool:
    """Whether values are in per unit (`pu`, `о.е.`)."""
    known = None if unit is None else unit_scale(unit)
    return known is not None and known.si == "1" and known.scale == 1.0


def side_units(text: str) -> tuple[str, str] | None:
    """The units of the secondary and the primary side in `В/кВ`; None where it is not such a pair."""
    secondary, slash, primary = text.partition("/")
    one, other = unit_scale(secondary), unit_scale(primary)
    if not slash or one is None or other is None or one.si != other.si or one.quantity == "other":
        return None
    return secondary.strip(), primary.strip()


def known_units() -> str:
    """The units of a voltage, for a message."""
    return "uV, mV, V, kV or MV"


def seconds_of(text: str) -> float | None:
    """Seconds of a unit of time; None where it is not one."""
    known = unit_scale(text)
    return known.scale if known is not None and known.si == "s" else None


def _seconds(symbol: str) -> float | None:
    if symbol in SYMBOLS_OF_TIME:
        return SYMBOLS_OF_TIME[symbol]
    prefix, rest = symbol[:1], symbol[1:]
    return PREFIXES[prefix] if prefix in ("n", "u", "m") and rest in ("s", "sec", "secs", "sek") else None


def _plain(text: str) -> str:
    """Without brackets, blanks and accents of Latin and Greek, and with `㎸` as `kV`."""
    if text.isascii():
        return re.sub(r"[\[\](){}\s\x00]", "", text)
    split = unicodedata.normalize("NFKD", re.sub(r"[\[\](){}\s\x00\u200c\u200d\ufeff]", "", text))
    return unicodedata.normalize("NFC", re.sub(r"[\u0300-\u036f]", "", split))
