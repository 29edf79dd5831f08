"""Sequence numbers of commands: none is used twice, across restarts and kills.

The original begins at 0 at each start, so that an answer to an old command can be mistaken for one to a
new command (docs/reference/opq-interop.md H.6). Here a file keeps the end of the numbers that may have been
used: a block of numbers is reserved before the first of it is used, and a kill loses the rest of a block. The
wire has 32 bits: at ten commands per second the numbers begin again after 13 years.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from opq_proto.errors import OpqError
from opq_proto.kit import log
from opq_proto.kit.whole_file import PRIVATE_MODE, private_folder, write_whole_file

SEQUENCE_NUMBERS = 2**32
"""Command.seq is a uint32."""
DIGITS = 10
NUMBERS_PER_BLOCK = 1 << 16
"""Size of a reserved block: one write to the disk per this many commands."""
FILE_NAME = "command_numbers"


class CommandNumbersError(OpqError):
    """The file of the numbers cannot be read, or holds no valid number."""


class CommandNumbers:
    """Yields whole numbers from 0 to 2**32 - 1, each one more than the one before."""

    def __init__(self, path: Path | None = None, block: int = NUMBERS_PER_BLOCK) -> None:
        """`path`: the file; None, or where there is no file yet: they start anywhere.

        Raises:
            CommandNumbersError: the file cannot be read, or holds no number.
        """
        self._path = path
        self._block = block
        self._log = log.get(service="acquisition-broker")
        first = self._read()
        self._next = random.SystemRandom().randrange(SEQUENCE_NUMBERS) if first is None else first
        self._left = 0

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self._left == 0:
            self._reserve()
        number = self._next
        self._next = (number + 1) % SEQUENCE_NUMBERS
        self._left -= 1
        return number

    def _read(self) -> int | None:
        """Returns the first number that was certainly not used; None if that is unknown."""
        if self._path is None:
            return None
        try:
            text = self._path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CommandNumbersError(f"{self._path}: cannot be read: {error}") from error
        if not text.isdigit() or len(text) > DIGITS or int(text) >= SEQUENCE_NUMBERS:
            raise CommandNumbersError(
                f"{self._path}: holds {text[:40]!r}; want a whole number below 2**32, or remove it"
            )
        return int(text)

    def _reserve(self) -> None:
        self._left = self._block
        if self._path is None:
            return
        end = (self._next + self._block) % SEQUENCE_NUMBERS
        try:
            private_folder(self._path.parent, ours=False)
            write_whole_file(self._path, [f"{end}\n".encode()], PRIVATE_MODE)
        except OSError as error:  # commands continue, and a number may come twice after the next start
            self._log.error("numbers.not_reserved", path=str(self._path), error=str(error))
