"""Codes by which a person claims a Box at the cloud: shown on this machine, used up by the command
`opq-claim`.

A code is made on request on this machine. It is for one Box, valid for CODE_S, and works once. View sends the
typed code to the Box over the Box's CURVE connection, where only the holder of the Box's key can answer. So
the cloud stores no secret and the clocks need not agree.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from opq_proto.kit import log

CODE_S = 600.0
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: five bits each, without I, L, O and U."""
CODE_CHARACTERS = 8
"""40 bits: MAX_TRIES tries guess the code with a chance of 1 in 1e8."""
MAX_TRIES = 10_000
"""Wrong tries after which a code is closed: more than hundreds of accounts may send to View in CODE_S, so
that strangers do not close the code of the Box's owner."""
READ_AS = str.maketrans("OIL", "011")


@dataclass(frozen=True, slots=True)
class ClaimCode:
    """An open code."""

    box_id: str
    code: str
    left_s: float


@dataclass(slots=True)
class _OpenCode:
    code: str
    until_s: float
    tries_left: int = MAX_TRIES


class ClaimCodes:
    """The open claim codes of all Boxes of this gateway; may be called from any thread."""

    def __init__(self, box_ids: Iterable[str], monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.box_ids = tuple(box_ids)
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._open: dict[str, _OpenCode] = {}
        self._log = log.get(service="gateway")

    def make(self, box_id: str) -> ClaimCode:
        """Makes a new code, which replaces an older one. KeyError: this gateway has no such Box."""
        if box_id not in self.box_ids:
            raise KeyError(box_id)
        digits = "".join(secrets.choice(ALPHABET) for _ in range(CODE_CHARACTERS))
        with self._lock:
            self._open[box_id] = _OpenCode(digits, self._monotonic_s() + CODE_S)
        self._log.info("claim_code.made", box_id=box_id, valid_s=CODE_S)
        return ClaimCode(box_id, _grouped(digits), CODE_S)

    def open_codes(self) -> tuple[ClaimCode, ...]:
        """The codes that are still valid, in the order of the Boxes."""
        now_s = self._monotonic_s()
        with self._lock:
            rows = [(box_id, self._open.get(box_id)) for box_id in self.box_ids]
        return tuple(
            ClaimCode(box_id, _grouped(each.code), each.until_s - now_s)
            for box_id, each in rows
            if each is not None and each.until_s > now_s
        )

    def spend(self, box_id: str, text: str) -> bool:
        """Whether `text` is the Box's open code; if so, the code is used up."""
        with self._lock:
            known = self._open.get(box_id)
            if known is None:
                return False
            if known.until_s <= self._monotonic_s():
                del self._open[box_id]
                return False
            fits = secrets.compare_digest(known.code.encode(), as_digits(text).encode())
            known.tries_left -= 0 if fits else 1
            closed = fits or known.tries_left <= 0
            if closed:
                del self._open[box_id]
        if closed:
            self._log.info("claim_code.closed", box_id=box_id, why="used" if fits else "too many wrong tries")
        return fits


def _grouped(digits: str) -> str:
    """The code in two halves, such as `K7QF-3M9X`."""
    return f"{digits[: CODE_CHARACTERS // 2]}-{digits[CODE_CHARACTERS // 2 :]}"


def as_digits(text: str) -> str:
    """A code as typed: accepts small letters and separators, and reads the letters O, I and L as digits."""
    plain = "".join(each for each in text[:100].upper() if each.isascii() and each.isalnum())
    return plain.translate(READ_AS)
