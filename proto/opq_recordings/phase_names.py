"""Which of three voltages is which phase, by phase field or name: one function for every reader. Pure.

Families of letters, numbers and colours; from one phase to neutral, or from one to the next. Three names are
those of phases where they differ in nothing but the letters of one family.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FAMILIES: tuple[tuple[str, str, str], ...] = (
    ("A", "B", "C"),
    ("R", "S", "T"),
    ("R", "Y", "B"),
    ("R", "W", "B"),
    ("U", "V", "W"),
    ("1", "2", "3"),
    ("A", "Б", "B"),
    ("A", "B", "Γ"),
    ("甲", "乙", "丙"),
    ("黄", "绿", "红"),
    ("Ж", "З", "К"),
    ("RED", "YELLOW", "BLUE"),
    ("RED", "WHITE", "BLUE"),
    ("ROT", "GELB", "BLAU"),
)
"""In the order of the rotation abc; letters as `_letters` leaves them."""
LINES = ((0, 1), (1, 2), (2, 0))
LOOK_ALIKES = str.maketrans("АВСЕТΑΒΕΤ", "ABCETABET")
"""Cyrillic and Greek capitals that look like Latin ones."""
NUMBERED = re.compile(
    r"(?:^|.*[^A-Z])(?:[UVEL]|U[UVEL]|[UV]LN?|PHASE|PHASEN|PH|P|LINE|VOLTAGE|VOLTS?|SPANNUNG|TENSION|TENSAO|FASE|FAZA)$"
    r"|.*(?:ФАЗ[АЫЕ]?|НАПРЯЖЕНИЕ|相|电压|電圧|電壓|전압)$"
)
"""What stands before the number of a phase; `CH1` is a channel."""
NOT_PHASES = re.compile(
    r"(?:^|.*[^A-Z])(?:CH|CHAN|CHANNEL|KANAL|PROBE|SENSOR|INPUT|IN|AI|ADC|COLUMN|BOX|METER|BUS|BUSBAR|FEEDER|BAY"
    r"|STATION|SITE|КАНАЛ|通道)$"
)
_UNIT = re.compile(r"\s*[\[({][^\[({]*[\])}]?\s*$")
"""What a header has behind the name: ` [V]`; ` (1 of 20)` stays, since three names differ there as well."""


@dataclass(frozen=True, slots=True)
class PhaseOrder:
    """Places of the phases: `order[0]` is the number of the first one; `why` where they have none."""

    order: tuple[int, int, int] | None
    why: str | None = None


def phase_order(fields: Sequence[str], names: Sequence[str]) -> PhaseOrder:
    """The order of three channels, by their phase fields, or else by their names."""
    why = None
    by_field = [_without_neutral(_letters(each)) for each in fields]
    for texts, numbered in ((by_field, True), ([_letters(each) for each in names], False)):
        if all(texts):
            found = _order_of(texts, numbered)
            if found.order is not None:
                return found
            why = why or found.why
    return PhaseOrder(None, why)


def names_voltages(names: Sequence[str]) -> bool:
    """Whether three names are those of the phases of a voltage, as `Bus VA`, `Bus VB`, `Bus VC` are."""
    found = phase_order(("", "", ""), names)
    return (
        found.order is not None
        and re.search(r"[UV][\s_.-]*L?$", _common([*map(_letters, names)])) is not None
    )


def is_phase(text: str) -> bool:
    """Whether a text alone names a phase, such as `A`, `L1`, `BN` or `UV`."""
    token = _without_neutral(_letters(text))
    return any(token in family or token in _pairs(family) for family in FAMILIES)


def are_phases(texts: Iterable[str]) -> bool:
    """Whether the three phases of a family are among them."""
    tokens = {_without_neutral(_letters(each)) for each in texts}
    return any(tokens.issuperset(family) for family in FAMILIES)


def _order_of(texts: Sequence[str], numbered: bool) -> PhaseOrder:
    prefix = _common(texts)
    rests = [each[len(prefix) :] for each in texts]
    suffix = _common([each[::-1] for each in rests])[::-1]
    tokens = [each[: len(each) - len(suffix)] for each in rests]
    plain = [re.sub(r"[\s_./-]|(?<![A-Z])L(?=\d)|N$", "", each) if len(each) > 1 else each for each in tokens]
    for family in FAMILIES:
        if sorted(plain) == sorted(family):
            places = [family.index(each) for each in plain]
        elif all(each in _pairs(family) for each in plain):
            pairs = [_pairs(family).index(each) for each in plain]
            if {each % 3 for each in pairs} != {0, 1, 2}:
                continue
            if len({each // 3 for each in pairs}) > 1:
                return PhaseOrder(None, f"{', '.join(plain)} do not follow each other round; one is reversed")
            places = [each % 3 for each in pairs]
        else:
            continue
        if numbered or _stands_alone(prefix, plain, suffix):
            return PhaseOrder((places.index(0), places.index(1), places.index(2)))
    return PhaseOrder(None)


def _common(texts: Sequence[str]) -> str:
    """The letters with which all begin."""
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in alike)


def _pairs(family: tuple[str, str, str]) -> tuple[str, ...]:
    """`AB`, `BC`, `CA`, and then the reversed ones."""
    forward = [family[a] + family[b] for a, b in LINES]
    return (*forward, *(family[b] + family[a] for a, b in LINES))


def _stands_alone(prefix: str, tokens: Sequence[str], suffix: str) -> bool:
    """Whether what differs is a letter or number of its own, and no part of a word."""
    before = re.sub(r"[\s_.:-]+$", "", prefix)
    after = suffix[:1]
    if NOT_PHASES.match(before):
        return False
    if any(each[0].isdigit() for each in tokens):
        return not after.isdigit() and NUMBERED.match(before) is not None
    neutral = re.match(r"[NGE0](?![A-Z])", suffix) is not None
    return neutral or not _is_letter(after)


def _is_letter(text: str) -> bool:
    """Whether it is a letter of a language with blanks between its words."""
    return text.isalpha() and ord(text) < 0x2E80


def _letters(text: str) -> str:
    """In capitals, without a unit behind it, and with Latin letters for those that look alike."""
    plain = _UNIT.sub("", text.strip()) if not re.search(r"\(\d+ of \d+\)$", text) else text
    split = unicodedata.normalize("NFKD", plain).upper()
    return unicodedata.normalize("NFC", re.sub(r"[\u0300-\u036f]", "", split)).translate(LOOK_ALIKES).strip()


def _without_neutral(text: str) -> str:
    """`A` of `A-N`, `Phase A`, `L1`, `Фаза А` or `A相`."""
    plain = re.sub(r"^(?:PHASE|PH|ФАЗА|FASE)[\s_.-]*|相$", "", text)
    plain = re.sub(r"[\s_./-]|L(?=\d)", "", plain)
    return plain[:-1] if len(plain) > 1 and plain[-1] in "NG" else plain
