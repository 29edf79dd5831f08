"""Text by people and by other programs, as one line that is safe in a terminal, a page and a log.

A separate file: messages on the wire, View's forms, notes and commands use it.
"""

import unicodedata

from opq_proto.visible_text import JOINERS

_LINE_BREAKS = dict.fromkeys((*range(9, 14), 0x85, 0x2028, 0x2029), " ")
_NO_CONTROL = dict.fromkeys(
    (*range(32), *range(127, 160), 0x200B, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
)
"""Control characters, characters without a shape, and characters that turn the direction of text (Unicode,
UAX 9)."""
_ONE_LINE = {**_NO_CONTROL, **_LINE_BREAKS}


def one_line(text: str) -> str:
    """The text without control characters, composed; line breaks and spaces in a row are one space."""
    return composed(" ".join(word for word in text.translate(_ONE_LINE).split(" ") if word).strip())


def composed(text: str) -> str:
    """The text with letters such as ü in one character (NFC), so that texts that look equal are equal."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def refused_letter(text: str) -> str | None:
    """The first character that a line must not have, such as `U+202E RIGHT-TO-LEFT OVERRIDE`.

    A joiner is part of the spelling between letters, marks or signs only.
    """
    for at, letter in enumerate(text):
        joins = (
            letter in JOINERS and _takes_joiner(text[at - 1 : at]) and _takes_joiner(text[at + 1 : at + 2])
        )
        if not (letter.isprintable() or joins):
            return f"U+{ord(letter):04X} {unicodedata.name(letter, 'CONTROL CHARACTER')}"
    return None


def _takes_joiner(letter: str) -> bool:
    return bool(letter) and unicodedata.category(letter)[0] in "LMS"
