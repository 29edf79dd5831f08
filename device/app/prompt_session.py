"""PromptSession: MicroPython's prompt in commands of the link, while the Box samples and its app goes on.

    open <number>                              begins the session of this number, with nothing typed
    <typed> <printed> <base64>                 bytes that are typed; answered by the same with what is printed
    close

`typed` is the place of the first byte that is sent, `printed` how many bytes the gateway has: both are sent
again if an answer was lost. `opq.prompt` runs what is typed and calls the app's other steps meanwhile.
"""

import gc
import sys
import time
from binascii import a2b_base64, b2a_base64

import codes
import vfs
from health import THRESHOLD_BYTES
from journal import Journal
from opq import prompt
from supervisor import Supervisor
from user_files import UserFiles
from user_program import UserProgram

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PIECE_BYTES = 168
"""Most printed bytes in an answer: with two places their base64 fits an acknowledgement's 255."""
SILENT_MS = 15_000
"""A session without a command for so long is closed: its gateway has gone."""
GATEWAY, SILENCE, APP = 1, 2, 3
"""Who closed it: reasons of codes.PROMPT_CLOSED."""


class PromptSession:
    def __init__(
        self,
        journal: Journal,
        supervisor: Supervisor,
        program: UserProgram,
        ticks_ms: "Callable[[], int]" = time.ticks_ms,
    ) -> None:
        self._journal = journal
        self._supervisor = supervisor
        self._program = program
        self._files = UserFiles(program)
        self._ticks_ms = ticks_ms
        self._number = 0  # of the open session; 0: none
        self._is_running = False
        self._heard_ms = 0
        self._typed = 0
        self._printed = 0  # place of `_piece`
        self._piece = b""  # what the last answer had

    def command(self, argument: str) -> "tuple[int, str]":
        """Status and detail for a Command."""
        words = argument.split(" ")
        try:
            if words[0] == "open":
                return self._open(int(words[1]))
            if words[0] == "close":
                self._close(GATEWAY)
                return codes.DONE, ""
            return self._exchange(int(words[0]), int(words[1]), a2b_base64(words[2]))
        except (ValueError, IndexError):
            return codes.BAD_ARGUMENT, "want open <number>, <typed> <printed> <base64>, or close"

    def step(self) -> None:
        """Runs an open session until it is closed; within one, watches it."""
        if not self._number:
            return
        if self._is_running:
            if time.ticks_diff(self._ticks_ms(), self._heard_ms) > SILENT_MS:
                self._close(SILENCE)
            return
        self._is_running = True
        try:
            modules = set(sys.modules)
            self._program.lend_heap()
            again = True
            while again:
                vfs.mount(self._files, "/")
                from remote_files import session_names  # its heap is the session's

                again = prompt.run(self._supervisor.round, session_names())
                for name in set(sys.modules) - modules:
                    del sys.modules[name]
                gc.enable()  # what it may have changed
                gc.threshold(THRESHOLD_BYTES)
                gc.collect()
        finally:
            self._is_running = False
            self._close(APP)
            self._program.take_heap_back()

    def _open(self, number: int) -> "tuple[int, str]":
        if self._number == number or number <= 0:
            return (codes.DONE, "") if number > 0 else (codes.BAD_ARGUMENT, "want a number from 1")
        if self._number or self._is_running:
            return codes.BUSY, "a prompt is open"
        prompt.open()
        self._number, self._typed, self._printed, self._piece = number, 0, 0, b""
        self._heard_ms = self._ticks_ms()
        self._journal.put(codes.PROMPT_OPENED)
        return codes.DONE, ""

    def _close(self, reason: int) -> None:
        if self._number:
            self._number = 0
            prompt.close()
            self._journal.put(codes.PROMPT_CLOSED, reason)

    def _exchange(self, typed: int, printed: int, data: bytes) -> "tuple[int, str]":
        if not self._number:
            return codes.FAILED, "no prompt is open"
        known = self._typed - typed
        if not 0 <= known <= len(data) or not 0 <= printed - self._printed <= len(self._piece):
            return codes.BAD_ARGUMENT, f"byte {self._typed} is next, {self._printed} was sent"
        self._heard_ms = self._ticks_ms()
        self._typed += prompt.put(data[known:])
        self._piece = self._piece[printed - self._printed :]
        self._printed = printed
        if not self._piece:
            self._piece = prompt.take(PIECE_BYTES)  # nothing that could fail lies between taking and keeping
        return codes.DONE, f"{self._typed} {self._printed} {b2a_base64(self._piece)[:-1].decode()}"
