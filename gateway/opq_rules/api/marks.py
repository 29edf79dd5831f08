"""How many things a JSON body is going to be, told before it is decoded."""

from opq_rules.errors import CONFIGURATION, RuleError

MOST_MARKS = 2_000_000
"""Of `[`, `{` and `,` outside texts. 64 MiB of `[],` would be 3 GiB, and all stands still meanwhile."""


class Marks:
    """Counts them in a body that comes in pieces; what stands within texts is text."""

    def __init__(self) -> None:
        self.found = 0
        self._in_text = False
        self._rest = b""
        self._wide = False
        """UTF-16 or 32, which `json` reads too: where texts begin and end is not told by bytes."""

    def take(self, piece: bytes) -> None:
        self._wide = self._wide or b"\0" in piece
        if self._wide:
            self.found += piece.count(b"[") + piece.count(b"{") + piece.count(b",")
            return
        piece = self._rest + piece
        odd = (len(piece) - len(piece.rstrip(b"\\"))) % 2  # an escape that ends in the next piece
        self._rest, piece = (piece[-1:], piece[:-1]) if odd else (b"", piece)
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        for part in parts[self._in_text :: 2]:
            self.found += part.count(b"[") + part.count(b"{") + part.count(b",")
        self._in_text ^= len(parts) % 2 == 0


def check_text(text: str | bytes) -> None:
    """A body within a body. RuleError 413: it is going to be too much."""
    marks = Marks()
    body = text.encode(errors="replace") if isinstance(text, str) else text
    for k in range(0, len(body), 1 << 16):  # a list of all its texts would be many times as large
        marks.take(body[k : k + (1 << 16)])
    if marks.found > MOST_MARKS:
        raise RuleError(told(), CONFIGURATION, http=413)


def told() -> str:
    return f"the body has more than {MOST_MARKS} lists, objects and members"
