"""Text of any code page: the byte order mark, then UTF-8, then Latin-1, where only names may be wrong."""

import codecs

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


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
        return "latin-1"
    return "utf-8"


def decoded(data: bytes) -> tuple[str, bool]:
    """The text, and whether its code page was assumed."""
    encoding = encoding_of(data)
    return data.decode(encoding, "replace").lstrip("\ufeff"), encoding == "latin-1"
