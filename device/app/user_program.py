"""UserProgram: runs a user's `box.py` from flash on each window, within limits; replaces it over the link.

    from opq import program

    def window(w):                          # w.rms_v, w.f_hz, ...: typings/opq/program.pyi
        if w.rms_v is not None and w.rms_v < 110:
            program.log(1, round(w.rms_v))

Sampling and sending go on in interrupts meanwhile. A program that is over a limit or raises is stopped until
it is put again or the Box starts; after CRASHES resets during its calls it is not started any more. Its own
lines are codes.PROGRAM_LINE, sent by opq.program.
"""

import gc
from binascii import a2b_base64, b2a_base64

import codes
from journal import Journal
from opq import program, update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CALL_MS = 20
"""Longest call per window, of which there are five a second."""
LOAD_MS = 400
"""Longest time to compile the text, and to run its body."""
KEPT_BYTES = 8192
"""Heap that a program may keep between calls; during a call it may use what is free."""
REASON_BYTES = 120

NONE = 0
RUNS = 1
TOO_LONG = 2
HEAP = 3
RAISED = 4
CRASHED = 5
NOT_COMPILED = 6
"""States, as in BoxFacts and in the log's reason (opq_proto.link.box_facts has their words)."""


class UserProgram:
    """`state` and `crc32` are reported by Health."""

    def __init__(self, journal: Journal) -> None:
        self.state = NONE
        self.crc32 = 0
        self.reason = ""
        self._journal = journal
        self._length = 0
        self._function: Callable[[program.Window], object] | None = None
        self._globals: dict[str, object] = {}
        self._least_free = 0
        self._wanted = (0, 0)
        self._next = 0
        self._begun = False

    def step(self) -> None:
        """Calls the program once for each window that has come.

        Firmware on trial runs none: a program's resets would count against the firmware.
        """
        if not self._begun:
            if update.on_trial():
                return
            self._begun = True
            self._begin()
        while self._function is not None:
            window = program.window()
            if window is None:
                return
            if self._call(window) and self._kept_too_much():
                self._stop(HEAP, f"keeps more than {KEPT_BYTES} bytes")

    def command(self, argument: str) -> tuple[int, str]:
        """Status and detail for a Command: see proto/golden/README.md, "A user's program"."""
        if not self._begun:
            return codes.BUSY, "its firmware is on trial; try again in 10 s"
        words = argument.split(" ")
        try:
            if not argument:
                return codes.DONE, f"{self.state} {self._length} {self.crc32} {self.reason}"
            if words[0] == "get":
                return codes.DONE, _base64(program.piece(int(words[1])))
            if words[0] == "put":
                return self._put(int(words[1]), int(words[2]))
            if words[0] == "end":
                return self._end()
            if words[0] == "remove":
                return self._remove()
            return self._piece(int(words[0]), a2b_base64(words[1]))
        except (ValueError, IndexError):
            return codes.BAD_ARGUMENT, "want put, <offset> <base64>, end, get, remove or nothing"

    def _begin(self) -> None:
        """Starts the stored program, if there is one."""
        crashed = program.crashed()
        stored = program.load()
        if stored is None:
            return
        self._length, self.crc32, crashes = stored
        if crashed:
            program.count_crash()
            crashes += 1
        if crashes >= program.CRASHES:
            self._stop(CRASHED, f"the Box was reset {crashes} times during its calls")
            return
        refused = self._load(program.text())
        if refused is not None:
            self._stop(*refused)

    def _put(self, length: int, crc32_: int) -> tuple[int, str]:
        if not 0 < length <= program.MAX_BYTES:
            return codes.BAD_ARGUMENT, f"{length} bytes; want 1 to {program.MAX_BYTES}"
        status = program.room()
        if status:
            return codes.FAILED, f"flash status {status}"
        self._wanted, self._next = (length, crc32_), 0
        return codes.DONE, "0"

    def _piece(self, offset: int, piece: bytes) -> tuple[int, str]:
        """Writes a piece; a repeated one is only acknowledged."""
        if offset > self._next or offset + len(piece) > self._wanted[0]:
            return codes.BAD_ARGUMENT, f"byte {self._next} of {self._wanted[0]} is next"
        if offset == self._next:
            status = program.write(offset, piece)
            if status:
                return codes.FAILED, f"flash status {status}"
            self._next += len(piece)
        return codes.DONE, str(self._next)

    def _end(self) -> tuple[int, str]:
        """Starts what was received instead of the former program, which goes on if the new one is refused."""
        length, wanted_crc32 = self._wanted
        if length == 0:
            return codes.DONE, ""  # repeated
        text = program.received(length, wanted_crc32) if self._next == length else None
        if text is None:
            return codes.FAILED, "not all of it was received"
        refused = self._load(text)
        if refused is not None:
            return codes.FAILED, refused[1]
        status = program.keep(length, wanted_crc32)
        if status:
            return codes.FAILED, f"it runs, but is not kept: flash status {status}"
        self._wanted = (0, 0)
        program.load()
        self._length, self.crc32 = length, wanted_crc32
        return codes.DONE, ""

    def _remove(self) -> tuple[int, str]:
        if self._length:
            status = program.room() or program.keep(0, 0)
            if status:
                return codes.FAILED, f"flash status {status}"
            program.load()
            self._drop()
            self.state, self.reason, self.crc32, self._length = NONE, "", 0, 0
            self._journal.put(codes.PROGRAM_REMOVED)
        return codes.DONE, ""

    def _load(self, text: str) -> tuple[int, str, int] | None:
        """Compiles a text and runs its body; then its function replaces the former one.

        Returns None, or state, reason and line of the refusal.
        """
        gc.collect()
        free = gc.mem_free()
        names: dict[str, object] = {}
        state = NOT_COMPILED
        try:
            code = program.call(LOAD_MS, compile, text, "box.py", "exec")
            state = RAISED
            program.call(LOAD_MS, exec, code, names)
        except BaseException as error:
            names.clear()
            return _refusal(state, error, LOAD_MS)
        code = None
        gc.collect()
        kept = free - gc.mem_free()
        function = names.get("window")
        if not callable(function):
            return RAISED, "it has no function window(w)", 0
        if kept > KEPT_BYTES:
            return HEAP, f"keeps {kept} bytes; at most {KEPT_BYTES} are allowed", 0
        self._drop()
        gc.collect()
        self._least_free = gc.mem_free() + kept - KEPT_BYTES
        self._globals, self._function = names, function
        self.state, self.reason = RUNS, ""
        program.watch(True)
        self._journal.put(codes.PROGRAM_STARTED, len(text))
        return None

    def _call(self, window: program.Window) -> bool:
        """Whether the call ended within the limits; if not, the program is stopped."""
        function = self._function
        assert function is not None
        try:
            program.call(CALL_MS, function, window)
        except BaseException as error:
            function = None
            self._drop()  # first: there may be no heap left for the words
            gc.collect()
            self._stop(*_refusal(RAISED, error, CALL_MS))
            return False
        return True

    def _kept_too_much(self) -> bool:
        if gc.mem_free() >= self._least_free:
            return False
        gc.collect()
        return gc.mem_free() < self._least_free

    def _stop(self, state: int, reason: str, line: int = 0) -> None:
        self._drop()
        self.state, self.reason = state, reason
        self._journal.put(codes.PROGRAM_STOPPED, state, line)

    def _drop(self) -> None:
        program.watch(False)
        self._function = None
        self._globals.clear()


def _refusal(state: int, error: BaseException, limit_ms: int) -> tuple[int, str, int]:
    """State, reason and line of box.py (0: unknown) for what a call raised."""
    line = program.line(error)
    place = f", line {line}" if line else ""
    if program.expired():
        return TOO_LONG, f"took more than {limit_ms} ms{place}", line
    if isinstance(error, MemoryError):
        state = HEAP
    return state, f"{type(error).__name__}: {error}"[:REASON_BYTES] + place, line


def _base64(data: bytes) -> str:
    return b2a_base64(data)[:-1].decode()  # without the newline
