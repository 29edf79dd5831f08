"""Text of any code page: the byte order mark, then UTF-8, then the page that its letters speak for.

A page that was found by its letters is an assumption. Without a match Latin-1 is assumed, and only names and
units can then be wrong.
"""

import codecs
import re

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
STATED_ENCODINGS = ("utf-32", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-8")
"""Encodings that a text shows by itself; another one is assumed."""
ENOUGH_LETTERS_SHARE = 0.75
"""Share of the letters beyond ASCII that must speak for a page."""
_WORDS = re.compile(rb"[A-Za-z,;]?[\x80-\xff]+[A-Za-z,;\r\n]?")
_PAGES = {
    "cp1251": re.compile(
        rb"[\xc0-\xdf\xa8]*[\xe0-\xff\xb8]*|[\xe0-\xff\xb8]+[\xc0-\xdf\xa8]+",
    ),
    "cp866": re.compile(
        rb"[\x80-\x9f\xf0]*[\xa0-\xaf\xe0-\xef\xf1]*|[\xa0-\xaf\xe0-\xef]+[\x80-\x9f]+",
    ),
    "gb18030": re.compile(rb"(?:[\xb0-\xd7][\xa1-\xfe]|[\xa1-\xa9][\xa1-\xfe])+"),
}
"""Russian words: capitals, then small letters; units such as `кВ` end in a capital. Chinese: the frequent
characters of GB 2312, and its signs."""


def encoding_of(beginning: bytes) -> str:
    """The encoding of a text by its first bytes: UTF-8 where nothing speaks against it."""
    for mark, name in MARKS:
        if beginning.startswith(mark):
            return name
    head = beginning[:4096]
    if len(head) >= 4 and b"\0" in head:  # UTF-16 without a mark: every other byte of plain text is 0
        even, odd = head[0::2].count(0), head[1::2].count(0)
        if odd > 0.4 * len(head) > 8 * even:
            return "utf-16-le"
        if even > 0.4 * len(head) > 8 * odd:
            return "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return _code_page(beginning)
    return "utf-8"


def decoded(data: bytes) -> tuple[str, str | None]:
    """The text, and its code page where that was assumed."""
    encoding = encoding_of(data)
    text = data.decode(encoding, "replace").lstrip("\ufeff")
    return text, None if encoding in STATED_ENCODINGS else encoding


def _code_page(data: bytes) -> str:
    """The page for which most letters beyond ASCII speak: Chinese, Russian (Windows, DOS), or Latin-1."""
    words = _WORDS.findall(data)
    letters = sum(len(_high(word)) for word in words)
    if _enclosed(words, letters):
        return "latin-1"
    share = {
        page: sum(len(_high(word)) for word in words if pattern.fullmatch(_high(word)))
        for page, pattern in _PAGES.items()
    }
    page = max(share, key=lambda each: share[each])
    return page if share[page] >= ENOUGH_LETTERS_SHARE * letters else "latin-1"


def _high(word: bytes) -> bytes:
    return bytes(each for each in word if each >= 0x80)


def _enclosed(words: list[bytes], letters: int) -> bool:
    """Whether the letters stand within words of ASCII, as in `Größe`, or are single ones, as in `à`.

    A single letter that fills a field is not one of these: `,В,` is a unit.
    """
    within = 0
    for word in words:
        size = len(_high(word))
        inside = word[:1].isalpha() and word[-1:].isalpha()
        field = word[:1] in b",;" and word[-1:] in b",;\r\n"
        if (inside and size <= 3) or (size == 1 and not field):
            within += size
    return within > letters / 2
