"""Text with every character visible, such as the name of a file in a message.

A separate file, because the errors need it, and `kit` needs the errors.
"""

JOINERS = "\u200c\u200d"
"""Part of the spelling: Persian has the first within words, emoji of several signs the second."""


def is_plain(letter: str) -> bool:
    """Whether a character has a shape or belongs to the spelling of its neighbours."""
    return letter.isprintable() or letter in JOINERS


def visible(text: str) -> str:
    """The text on one line; a character without a shape is its escape, as `\\n`."""
    if text.isprintable():
        return text
    return "".join(each if is_plain(each) else each.encode("unicode_escape").decode("ascii") for each in text)
