"""The golden vectors for a prompt whose line is slow: a signal's samples wait in flash, a loop pushes them.

QEMU hands its USART one byte at a time, some 20 kB/s; the signals as text are 0.9 MB. What is run and how it
is judged is device/tests/golden_script.py's.
"""

import base64
import re
from dataclasses import dataclass

from golden_script import Case

PLACES = ((0x10000, 0x20000), (0x60000, 0x7F000), (0x80000, 0xE0000))
"""Places in flash: the spare sector, the rest of slot A, slot B."""
FLASH = 0x08000000
PRELUDE = (
    "import machine; from array import array; block = array('H', bytes(400))",
    "def at(a, n):\n m = machine.mem16; b = block\n for i in range(n):\n  b[i] = m[a]; a += 2\n"
    " return b if n == 200 else b[:n]",
)
_PUSH = re.compile(r"f\.push\(b64\('([^']*)'\), (\d+), False\)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Push:
    """One block of samples of a signal."""

    data: bytes
    first: int
    then: str


def in_flash(case: Case, place: int) -> tuple[bytes, list[str]]:
    """The bytes to put at offset `place`, and the statements that use them; without a push: none, its own."""
    data, statements, run = b"", [], list[Push]()

    def close() -> None:
        nonlocal data
        if run:
            samples = len(run[0].data) // 2
            begin = FLASH + place + len(data)
            push = (
                f"f.push(at({begin} + {2 * samples} * k, {samples}), {run[0].first} + {samples} * k, False)"
            )
            statements.append(f"for k in range({len(run)}): {push}{run[0].then}")
            data += b"".join(push.data for push in run)
            run.clear()

    for statement in case.statements:
        found = _PUSH.fullmatch(statement)
        if found is None:
            close()
            statements.append(statement)
            continue
        push = Push(base64.b64decode(found[1]), int(found[2]), found[3])
        samples = len(push.data) // 2
        if run and (len(run[0].data) != len(push.data) or push.first != run[-1].first + samples):
            close()
        run.append(push)
    close()
    return data, statements


def laid_out(all_cases: list[Case]) -> tuple[dict[int, bytes], list[tuple[Case, list[str]]]]:
    """What goes where in flash, and each case with its statements; those without room stay as they are."""
    blobs: dict[int, bytes] = {}
    scripts = []
    free = dict(PLACES)
    for case in all_cases:
        size = len(in_flash(case, 0)[0])
        place = next((begin for begin, end in free.items() if end - begin >= size), None)
        if size == 0 or place is None:
            scripts.append((case, case.statements))
            continue
        data, statements = in_flash(case, place)
        blobs[place] = data
        free = {begin + size if begin == place else begin: end for begin, end in free.items()}
        scripts.append((case, statements))
    return blobs, scripts
