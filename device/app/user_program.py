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
from opq import link, program, update

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
"""Most text of an exception in `reason`: with line, state, length and CRC-32 it fits an acknowledgement."""

NONE = 0
RUNS = 1
TOO_LONG = 2
HEAP = 3
RAISED = 4
CRASHED = 5
NOT_COMPILED = 6
"""States, as in BoxFacts and in the log's reason (opq_proto.link.log_codes has their words)."""


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
        self._free_before = 0  # heap before a text that was refused; 0: none since the last step
        self._free_before_prompt = 0  # 0: no prompt uses the heap
        self._windows_lost = program.windows_lost()
        self._wanted = (0, 0)
        self._next = 0
        self._begun = False
        self._is_replaced = False

    @property
    def length(self) -> int:
        """Bytes of its text; 0: there is none."""
        return self._length

    def text(self) -> str:
        return program.text()

    def lend_heap(self) -> None:
        """A prompt uses the heap from here on: what is used counts against no program."""
        gc.collect()
        self._free_before_prompt = gc.mem_free()

    def take_heap_back(self) -> None:
        """The prompt is over; names that it left in MicroPython's table are not the program's."""
        gc.collect()
        self._least_free -= max(0, self._free_before_prompt - gc.mem_free())
        self._free_before_prompt = 0

    def step(self) -> None:
        """Calls the program once for each window that has come.

        Firmware on trial runs none: a program's resets would count against the firmware.
        """
        if not self._begun:
            if update.on_trial():
                return
            self._begun = True
            self._begin()
        if self._is_replaced:
            return  # a prompt writes box.py, and this is a round within
        if self._free_before:
            self._allow_for_refused()
        lost = program.windows_lost()
        if lost != self._windows_lost:
            self._journal.put(codes.PROGRAM_WINDOWS_LOST, lost - self._windows_lost, lost)
            self._windows_lost = lost
        while self._function is not None:
            window = program.window()
            if window is None:
                return
            if self._call(window) and self._kept_too_much():
                self._drop()  # first: there may be no heap left for the words
                self._stop(HEAP, f"keeps more than {KEPT_BYTES} bytes")

    def command(self, argument: str) -> tuple[int, str]:
        """Status and detail for a Command: see proto/golden/README.md, "A user's program"."""
        if not self._begun:
            return codes.BUSY, "its firmware is on trial; try again in 10 s"
        if self._is_replaced:
            return codes.BUSY, "a prompt writes it"
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
            return self.write(int(words[0]), a2b_base64(words[1]))
        except (ValueError, IndexError):
            return codes.BAD_ARGUMENT, "want put, <offset> <base64>, end, get, remove or nothing"

    def replace(self, text: "bytes | bytearray") -> tuple[int, str]:
        """Does put, write and end for a prompt, whose rounds with the link's commands go on in between."""
        if not self._begun or self._is_replaced:
            return codes.BUSY, "try again in 10 s"
        self._is_replaced = True
        try:
            status, detail = self._put(len(text), link.crc32(text))
            if status == codes.DONE:
                status, detail = self.write(0, text)
            return self._end() if status == codes.DONE else (status, detail)
        finally:
            self._is_replaced = False

    def _begin(self) -> None:
        """Starts the stored program, if there is one."""
        stored = program.load()
        crashed = program.crashed()
        if stored is None:
            return
        self._length, self.crc32, crashes = stored
        if crashed:
            program.count_crash()
            crashes += 1
        if crashes >= program.CRASHES:
            self._stop(CRASHED, f"the Box was reset {crashes} times during its calls")
            return
        refused = self._load(program.text(), self._length, self.crc32)
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

    def write(self, offset: int, piece: "bytes | bytearray") -> tuple[int, str]:
        """Writes a piece of what `put` began; a repeated one is only acknowledged."""
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
        refused = self._load(text, length, wanted_crc32, store=True)
        if refused is not None:
            return codes.FAILED, refused[1]
        self._wanted = (0, 0)
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

    def _load(self, text: str, length: int, crc32_: int, store: bool = False) -> tuple[int, str, int] | None:
        """Compiles a text, runs its body and stores it if wanted; then its function replaces the former one.

        Returns None, or state, reason and line of the refusal: then the former one goes on.
        """
        gc.collect()
        free = gc.mem_free()
        self._free_before = self._free_before or free
        names: dict[str, object] = {}
        state = NOT_COMPILED
        try:
            code = _in_time(crc32_, LOAD_MS, compile, text, "box.py", "exec")
            state = RAISED
            _in_time(crc32_, LOAD_MS, exec, code, names)
        except BaseException as error:
            names.clear()
            return _refusal(state, error, LOAD_MS, crc32_)
        code = None
        gc.collect()
        kept = free - gc.mem_free()
        function = names.get("window")
        if not callable(function):
            return RAISED, "it has no function window(w)", 0
        if kept > KEPT_BYTES:
            names.clear()
            return HEAP, f"keeps {kept} bytes; at most {KEPT_BYTES} are allowed", 0
        if store:
            status = program.keep(length, crc32_)
            if status:
                return NONE, f"not kept: flash status {status}", 0
            program.load()
        self._drop()
        self._length, self.crc32 = length, crc32_
        self._free_before = 0
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
            _in_time(self.crc32, CALL_MS, function, window)
        except BaseException as error:
            function = None
            self._drop()  # first: there may be no heap left for the words
            self._stop(*_refusal(RAISED, error, CALL_MS, self.crc32))
            return False
        return True

    def _allow_for_refused(self) -> None:
        """Heap that a refused text used up, such as for names in MicroPython's table: not the program's."""
        gc.collect()
        self._least_free -= max(0, self._free_before - gc.mem_free())
        self._free_before = 0

    def _kept_too_much(self) -> bool:
        if self._free_before_prompt or gc.mem_free() >= self._least_free:
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
        gc.collect()


def _in_time(crc32: int, limit_ms: int, function: "Callable[..., object]", *arguments: object) -> object:
    """As program.call, but a call over its limit raises even where it returned: C cannot be interrupted."""
    result = program.call(crc32, limit_ms, function, *arguments)
    if program.expired():
        raise KeyboardInterrupt
    return result


def _refusal(state: int, error: BaseException, limit_ms: int, crc32: int) -> tuple[int, str, int]:
    """State, reason and line of box.py (0: unknown) for what a call raised."""
    line = program.line(error)
    place = f", line {line}" if line else ""
    if program.expired():
        return TOO_LONG, f"took more than {limit_ms} ms{place}", line
    if isinstance(error, MemoryError):
        state = HEAP
    return state, _words(error, crc32) + place, line


def _words(error: BaseException, crc32: int) -> str:
    """Name and text of an exception in REASON_BYTES of ASCII at most; its name alone if `__str__` fails."""
    name = type(error).__name__
    try:
        words = f"{name}: {_in_time(crc32, CALL_MS, str, error)}"
    except BaseException:
        words = name
    found = bytearray(words[:REASON_BYTES].encode()[:REASON_BYTES])
    for at, byte in enumerate(found):
        if not 32 <= byte < 127:
            found[at] = 63  # "?"
    return bytes(found).decode()


def _base64(data: bytes) -> str:
    return b2a_base64(data)[:-1].decode()  # without the newline
