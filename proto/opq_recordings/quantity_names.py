"""Names of quantities: names of columns and variables with a voltage, a current or a time.

`words_of` parts each name into words: by `_`, `-`, a point, a slash, a change of case and digits.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

Quantity = Literal["voltage", "current", "other"]
FIRST_UNSPACED_LETTER = 0x3000
"""From here on letters are those of languages without blanks, mostly."""
_VOLTAGE = re.compile(
    r"(?i)^(?!v[-.·* ]a$)(volts?|voltage.*|.*\bvoltage\b.*|spannung.*|tension.*|u|v|vac|ampl(itude)?"
    r"|[uv][_ .-]?(l?\d[_ .-]?n?|[abcnrstuvwyαβγ]|[abcrst]n|ab|bc|ca|rs|st|tr|ry|yb|br|uv|vw|wu|ln|rms|mains"
    r"|grid|ll|lg|pn|pp|in|out)(?![a-z]).*)$"
)
"""By the name as it is; `V-A`, `V.A` and `V A` may be an apparent power."""
_CURRENT = re.compile(r"(?i)^(amps?|current.*|.*\bcurrent\b.*|strom.*|i|i[_ .-]?(l?\d|[abcn])(?![a-z]).*)$")
_OTHER = re.compile(
    r"(?i)^(freq.*|.*[_ .-]freq(uency)?|frequenz.*|hz|rocof.*"
    r"|((active|reactive|apparent|real)[_ .-]?)?power.*|leistung.*|energy.*|watts?|temp|temperature.*"
    r"|humidity.*|thd.*|cos[_ .-]?phi.*|(phase[_ .-]?)?angle.*)$"
)
_WORD_ENDS = re.compile(
    r"[\W_]+|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
    r"|(?<=[a-zß-öø-ÿа-яё])(?=[A-ZÀ-ÖØ-ÞА-ЯЁ])|(?<=[A-Z])(?=[A-Z][a-z])"
)
_NOT_A_VOLTAGE = re.compile(
    r"(?i).*\b(freq|frequency|thd|angle|factor|unbalance|imbalance|power|energy|temperature|ratio|percent|pct"
    r"|deviation|harmonics?|distortion|flicker|status|alarm|quality)$"
    r"|.*\b(volts?|voltage|amps?|current) per\b.*"
)
"""By words: `voltage_thd` is not a voltage, since its last word says what it is; volts per hertz are not."""
_VOLT_AMPERES = re.compile(r"(?i)v([-.·* ]?)a")
_VOLTAGE_WORD = re.compile(
    r"(?i).*\b(voltages?|volts?|\w*spannung(en)?|tension(e|es)?)\b.*|[uv] ?(rms|phase|ph|line)\b.*"
)
_CURRENT_WORD = re.compile(r"(?i).*\b(currents?|amps?|\w*strom)\b.*|i ?(rms|phase|ph|line)\b.*")
_OTHER_WORD = re.compile(r"(?i).*\b(frequency|\w*frequenz|rocof|thd|\w*leistung|humidity)\b.*")
_TIME_WORD = re.compile(
    r"(?i)((times?|timestamp|datetime|date|zeit|temps|tiempo|ts|epoch|unix)\b.*"
    r"|.*\b(times?|timestamp|datetime|dates?|seconds?|zeit|temps|tiempo|ts|epoch))"
)
"""By words: first or last, so that `real_time_power` is not a time."""


def _beginning(words: str) -> re.Pattern[str]:
    """Finds a name in which a word begins with one of these; those of Chinese stand without blanks."""
    alone, within = list[str](), list[str]()
    for word in words.split():
        (within if ord(word[0]) >= FIRST_UNSPACED_LETTER else alone).append(word)
    return re.compile("|".join([rf"(?:^|[\W_\d])(?:{'|'.join(alone)})", *within]))


_VOLTAGE_WORDS = _beginning(
    "напряжени напруг напрежени напон napon napeti napatie napieci feszultseg gerilim jannite "
    "spanning spenning spaending voltaj voltaje tensao tensione tensiune dien.ap 电压 電壓 "
    "電圧 전압 ταση वोल्टेज जहद جهد فولتية ولتاژ מתח แรงดัน"
)
_CURRENT_WORDS = _beginning(
    "corrente corriente courant curent stroom strøm virta prad proud prud struja akim "
    "dong.dien струм струја 电流 電流 전류 ρευμα करंट धारा تيار جریان זרם กระแส"
)
_OTHER_WORDS = _beginning(
    "частот мощност потужн температур энерги 频率 頻率 周波数 주파수 功率 電力 전력 温度 "
    "frecuencia frequencia frequenza potencia puissance potenza czestotliwosc συχνοτητα "
    r"moc(?!\w)"
)
_TIME_WORDS = _beginning(
    "время час време vreme czas cas ido zaman tempo tijd tid aika timp thoi.gian 时间 時間 "
    "时刻 時刻 日時 日時刻 시간 χρονος समय زمن وقت زمان זמן เวลา дата 日期 fecha datum "
    "uhrzeit heure hora ora(?!\\w) klo(?!\\w) kl(?!\\w) klokke pvm(?!\\w) paivamaara"
)
_RUSSIAN_CURRENT = re.compile(r"(?<!\w)ток(?:и|а)?(?!\w)")
_TIME = re.compile(
    r"(?i)^(x|t|x-axis|.*\b(time|times|timestamp|zeit|temps|tiempo|second|seconds|date|datetime)s?\b.*"
    r"|time.*|zeit.*|datetime|timestamp.*)$"
)


CYRILLIC = str.maketrans("авсАВС", "abcABC")
"""Phases in Cyrillic letters: `Uа`."""


def words_of(name: str) -> str:
    """The words of a name with blanks between them: `phase_A_voltage` and `phaseA.Voltage` are one name."""
    return " ".join(_WORD_ENDS.sub(" ", name).split())


def quantity_named(name: str) -> Quantity | None:
    """The quantity that the name of a column or variable states; None where it states none."""
    if name[:1].isascii() and len(name) <= 4:
        name = name.translate(CYRILLIC)
    words = words_of(name)
    if _NOT_A_VOLTAGE.fullmatch(words):
        return "other"
    if _VOLTAGE.match(name) or _VOLTAGE_WORD.fullmatch(words):
        return "voltage"
    if _CURRENT.match(name) or _CURRENT_WORD.fullmatch(words):
        return "current"
    if _OTHER.match(name) or _OTHER_WORD.fullmatch(words):
        return "other"
    plain = without_accents(name)
    if _OTHER_WORDS.search(plain):
        return "other"
    if _VOLTAGE_WORDS.search(plain):
        return "voltage"
    return "current" if _CURRENT_WORDS.search(plain) or _RUSSIAN_CURRENT.search(words.lower()) else None


def volt_amperes(name: str, voltages: Iterable[str], names: Iterable[str]) -> Quantity | None:
    """Whether `VA`, `V.A` or `V A` is an apparent power or the voltage of phase A; None for other names.

    It is a voltage where a name beside it is written alike, such as `V B`, `V C` or `I A`; `VA` also where
    it is the only voltage.

    Args:
        voltages: names of the voltages of the file.
        names: those of all its channels.
    """
    found = _VOLT_AMPERES.fullmatch(name.strip())
    if found is None:
        return None
    beside = {f"{letter}{found[1]}{phase}" for letter, phase in ("vb", "vc", "ia", "ib")}
    if any(each.strip().lower() in beside for each in names):
        return "voltage"
    return "other" if found[1] or any(each != name for each in voltages) else "voltage"


def time_named(name: str) -> bool:
    """Whether a column of that name holds times."""
    if _TIME.match(name) or _TIME_WORD.fullmatch(words_of(name)):
        return True
    found = _TIME_WORDS.match(without_accents(name))
    return found is not None and not name.strip()[found.end() : found.end() + 1].isalpha()


def without_accents(text: str) -> str:
    """In small letters, without accents of Latin and Greek, trimmed."""
    split = unicodedata.normalize("NFKD", text.strip())
    return unicodedata.normalize("NFC", re.sub(r"[\u0300-\u036f]", "", split)).lower()
