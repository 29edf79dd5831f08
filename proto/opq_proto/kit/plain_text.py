"""Text by people and by other programs, as one line that is safe in a terminal, a page and a log.

A file of its own: messages on the wire, View's forms, notes and commands use it.
"""

_LINE_BREAKS = dict.fromkeys((*range(9, 14), 0x85, 0x2028, 0x2029), " ")
_NO_CONTROL = dict.fromkeys(
    (*range(32), *range(127, 160), 0x200B, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
)
"""Characters of control, without a shape, and those that turn the direction of text (Unicode, UAX 9)."""
_ONE_LINE = {**_NO_CONTROL, **_LINE_BREAKS}


def one_line(text: str) -> str:
    """The text without control characters; line breaks and several spaces in a row are one space."""
    return " ".join(word for word in text.translate(_ONE_LINE).split(" ") if word).strip()
