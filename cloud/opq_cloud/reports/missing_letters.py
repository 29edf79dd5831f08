"""The letters of a page that no font of this machine has: a PDF shows an empty box for each.

Separate from `report_page.py` because it asks fontconfig, the library by which Pango finds its fonts.
"""

import ctypes
import html
import re
import unicodedata
from ctypes.util import find_library
from functools import lru_cache

_TAGS = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.DOTALL)
PACKAGES = (
    (0x2E80, 0x9FFF, "fonts-noto-cjk"),
    (0xAC00, 0xD7FF, "fonts-noto-cjk"),
    (0xF900, 0xFAFF, "fonts-noto-cjk"),
    (0xFF00, 0xFFEF, "fonts-noto-cjk"),
    (0x20000, 0x3FFFF, "fonts-noto-cjk"),
    (0x1F000, 0x1FAFF, "fonts-noto-color-emoji"),
)
"""First and last letter, and the package of Debian and Ubuntu with a font for them."""
OTHER_PACKAGE = "fonts-noto-core"
SHOWN = 20


class _FontSet(ctypes.Structure):
    _fields_ = (("nfont", ctypes.c_int), ("sfont", ctypes.c_int), ("fonts", ctypes.c_void_p))


def missing_letters(page: str) -> str:
    """Returns the letters of a page (HTML) that no font here has, each once; none if that is unknown."""
    text = html.unescape(_TAGS.sub("", page))
    asked = sorted(letter for letter in set(text) if ord(letter) > 0x7F and _is_drawn(letter))
    return "".join(letter for letter in asked if _has_font(ord(letter)) is False)


def missing_words(letters: str, name_them: bool = True) -> str:
    """Returns what is missing and what brings it, as a sentence; empty where nothing is.

    `name_them`: with the letters beside their numbers, for a reader who has a font.
    """
    if not letters:
        return ""
    numbers = [f"U+{ord(letter):04X}" for letter in letters[:SHOWN]]
    named = [f"{letter} ({number})" for letter, number in zip(letters, numbers, strict=False)]
    shown = " ".join(named if name_them else numbers)
    more = f" and {len(letters) - SHOWN} more" if len(letters) > SHOWN else ""
    packages = " ".join(dict.fromkeys(map(_package, letters)))
    return (
        f"no font of this machine has {shown}{more}; the PDF shows an empty box for each; "
        f"install a font: sudo apt install {packages}"
    )


def _package(letter: str) -> str:
    at = ord(letter)
    return next((name for first, last, name in PACKAGES if first <= at <= last), OTHER_PACKAGE)


def _is_drawn(letter: str) -> bool:
    return unicodedata.category(letter)[0] not in "CZ" and unicodedata.category(letter) != "Mn"


@lru_cache(maxsize=4096)
def _has_font(letter: int) -> bool | None:
    """Whether a font here has a letter; None without fontconfig, and then there is no PDF either."""
    name = find_library("fontconfig")
    if name is None:
        return None
    library = ctypes.CDLL(name)
    for function in ("FcInitLoadConfigAndFonts", "FcPatternCreate", "FcCharSetCreate", "FcObjectSetCreate"):
        getattr(library, function).restype = ctypes.c_void_p
    library.FcFontList.restype = ctypes.POINTER(_FontSet)
    pattern, letters = library.FcPatternCreate(), library.FcCharSetCreate()
    objects = library.FcObjectSetCreate()
    try:
        library.FcCharSetAddChar(ctypes.c_void_p(letters), letter)
        library.FcPatternAddCharSet(ctypes.c_void_p(pattern), b"charset", ctypes.c_void_p(letters))
        found = library.FcFontList(None, ctypes.c_void_p(pattern), ctypes.c_void_p(objects))
        has = bool(found and found.contents.nfont)
        if found:
            library.FcFontSetDestroy(found)
        return has
    finally:
        library.FcObjectSetDestroy(ctypes.c_void_p(objects))
        library.FcCharSetDestroy(ctypes.c_void_p(letters))
        library.FcPatternDestroy(ctypes.c_void_p(pattern))
