"""Update: passes a Box's firmware from Makai to the Box, in pieces, while the Box samples.

    begin <bytes> <sha256>      make room for a .opqfw file
    data <offset> <base64>      a piece of it, in order; answered with the offset wanted next
    install                     check it, then send the image of the Box's free slot; answered at once
    status                      {"state": ..., "bytes": ..., "done": ..., "reason": ..., "firmware": ...}
    cancel                      end the update; the Box does not start what it has received

The Box checks image and signature, and starts the image on trial. Its present firmware stays until the whole
image is verified. A lost piece is sent again. Owned by the command handler's thread.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable
from functools import partial

from opq_gateway.gateway_status import BoxStatus
from opq_gateway.serial_side.box_commands import BoxAnswer, BoxCommandLink
from opq_proto.errors import OpqError
from opq_proto.firmware.image import (
    ERASE_S,
    MAX_FILE_BYTES,
    PIECE_BYTES,
    WRITING,
    Slot,
    read_bundle,
    refusal_words,
    sha256_of,
)
from opq_proto.link.log_codes import UPDATE_CONFIRMED
from opq_proto.link.messages import Log, Operation, Status

ANSWER_S = 1.0
BUSY_S = 0.05
LOST_S = 5.0
"""Wait beyond the time-out of the line, because a busy handler may receive the answer late."""
SENDING_TRIES = 10


class FirmwareUpdate:
    """The update of one Box; at most one at a time.

    `state` is idle, collecting, erasing, sending, verifying, restarting (the Box has all of it), on trial (it
    has restarted since), confirmed or rolled back, as the Box reports, or failed.
    """

    def __init__(
        self, line: BoxCommandLink, later: Callable[[Callable[[], None]], bool], status: BoxStatus
    ) -> None:
        self.state = "idle"
        self.reason = ""
        self._line = line
        self._later = later
        self._box = status
        self._before = self._box_state()
        self._wanted = (0, "")
        self._file = bytearray()
        self._images: dict[Slot, bytes] = {}
        self._image = b""
        self._offset = 0
        self._tries = 0
        self._round = 0  # distinguishes answers to a cancelled update from those to this one
        self._again_s: float | None = None
        self._lost_s = 0.0
        self._now_s = 0.0
        self._busy_until_s = 0.0

    @property
    def busy(self) -> bool:
        """Whether the Box is being written."""
        return self.state in WRITING

    def execute(self, message: str) -> tuple[bool, str]:
        """Handles one of the messages above; returns whether it succeeded, and the answer."""
        word, _, rest = message.partition(" ")
        match word:
            case "begin":
                return self._begin(rest)
            case "data":
                return self._data(rest)
            case "install":
                return self._install()
            case "status":
                return True, self._status()
            case "cancel":
                self._round += 1
                self._reset("idle", "")
                return True, "cancelled"
        return False, f"{word[:40]!r} is unknown; want begin, data, install, status or cancel"

    def tick(self, now_s: float) -> bool:
        """Repeats a step for which the Box was busy, when it is due. True while the Box is being written."""
        self._now_s = now_s
        if self._again_s is not None and now_s >= self._again_s:
            self._again_s = None
            self._next()
        elif self._again_s is None and self.busy and now_s >= self._lost_s:
            self._round += 1
            self._try_again("no answer")
        return self.busy

    def _begin(self, rest: str) -> tuple[bool, str]:
        match = re.fullmatch(r"(\d{1,8}) ([0-9a-f]{64})", rest)
        if match is None or not 0 < int(match[1]) <= MAX_FILE_BYTES:
            return False, f"want begin <bytes, at most {MAX_FILE_BYTES}> <sha256 in hex>"
        if self.busy:
            return False, f"an update is under way ({self.state}); cancel it first"
        self._round += 1
        self._reset("collecting", "")
        self._wanted = (int(match[1]), match[2])
        return True, "0"

    def _data(self, rest: str) -> tuple[bool, str]:
        offset, _, text = rest.partition(" ")
        if self.state != "collecting":
            return False, "begin first"
        if offset != str(len(self._file)):
            return True, str(len(self._file))  # a repeated piece, or a piece after a lost one
        try:
            piece = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            return False, f"the piece is not base64: {error}"
        if len(self._file) + len(piece) > self._wanted[0]:
            return False, f"more than the {self._wanted[0]} bytes that were announced"
        self._file += piece
        return True, str(len(self._file))

    def _install(self) -> tuple[bool, str]:
        if self.busy:
            return True, self.state  # the answer to the first request was lost
        if self.state != "collecting":
            return False, "begin first"
        if len(self._file) != self._wanted[0]:
            return False, f"{len(self._file)} of {self._wanted[0]} bytes are there"
        if sha256_of(self._file).hex() != self._wanted[1]:
            return False, "the file's SHA-256 is not the announced one; begin again"
        try:
            self._images = read_bundle(bytes(self._file))
        except OpqError as error:
            return False, f"not a firmware file: {error}"
        self._file.clear()
        self.state, self._offset, self._tries = "erasing", 0, 0
        self._before = self._box_state()
        self._busy_until_s = self._now_s + ERASE_S
        self._next()
        return True, "erasing" if self.busy else self.reason

    def _next(self) -> None:
        """Sends the Box the step that is due."""
        done = partial(self._answered, self._round)
        match self.state:
            case "erasing":
                largest = max(len(image) for image in self._images.values())
                limit_s = ERASE_S
                taken = self._line.send_command(Operation.UPDATE_BEGIN, str(largest), limit_s, done)
            case "sending":
                piece = self._image[self._offset : self._offset + PIECE_BYTES]
                limit_s = ANSWER_S
                taken = self._line.send_update_data(self._offset, piece, limit_s, done)
            case "verifying":
                limit_s = 3 * ANSWER_S
                taken = self._line.send_command(Operation.UPDATE_END, "", limit_s, done)
            case _:
                return
        self._lost_s = self._now_s + limit_s + LOST_S
        if not taken:
            self._try_again("the Box's port is not open")

    def _answered(self, round_: int, answer: BoxAnswer) -> None:
        """Passes an answer from the serial side's thread to the handler's."""
        self._later(partial(self._accept_answer, round_, answer))

    def _accept_answer(self, round_: int, answer: BoxAnswer) -> None:
        if round_ != self._round or not self.busy:
            return
        if answer.status is None:
            if self.state == "verifying":  # the Box may restart before it has sent its answer
                self._reset("restarting", "")
            else:
                self._try_again("no answer")
        elif answer.status is Status.BUSY:
            if self._now_s > self._busy_until_s:
                self._reset("failed", self._busy_words(answer.detail))
            else:
                self._again_s = self._now_s + BUSY_S
        elif answer.status is not Status.DONE:
            self._reset("failed", refusal_words(answer.status.name, answer.detail))
        else:
            self._go_on(answer.detail)

    def _busy_words(self, detail: str) -> str:
        """The reason for giving up. While the Box erases a slot, it reports only which byte it wants."""
        why = detail
        if self.state == "sending":
            why = f"it erases its flash, {self._offset} of {len(self._image)} bytes written"
        return f"the Box was busy for {ERASE_S:g} s ({why}); it keeps its firmware, try again"

    def _go_on(self, detail: str) -> None:
        """Continues after a step that the Box has done; `detail` is what the Box wants next."""
        self._tries, self._busy_until_s = 0, self._now_s + ERASE_S
        if self.state == "erasing":
            if detail not in Slot.__members__ or Slot[detail] not in self._images:
                self._reset(
                    "failed", f"the Box wants the image for slot {detail!r}, which the file does not hold"
                )
                return
            self._image = self._images[Slot[detail]]
            self.state = "sending"
        elif self.state == "sending":
            if not (detail.isascii() and detail.isdigit() and int(detail) <= len(self._image)):
                self._reset("failed", f"the Box wants byte {detail!r} of {len(self._image)} next")
                return
            self._offset = int(detail)
            if self._offset == len(self._image):
                self.state = "verifying"
        else:
            self._reset("restarting", "")
            return
        self._next()

    def _try_again(self, why: str) -> None:
        self._tries += 1
        if self._tries > SENDING_TRIES:
            self._reset(
                "failed", f"{why}, {SENDING_TRIES} times, at byte {self._offset}; the Box keeps its firmware"
            )
        else:
            self._again_s = self._now_s + ANSWER_S

    def _reset(self, state: str, reason: str) -> None:
        self.state, self.reason, self._again_s = state, reason, None
        self._file.clear()
        if state != "restarting":
            self._image, self._images, self._offset = b"", {}, 0

    def _box_state(self) -> tuple[int | None, Log | None]:
        """The Box's boot id, and its newest report of a trial's end."""
        hello = self._box.hello
        return None if hello is None else hello.boot_id, self._box.trial_end

    def _status(self) -> str:
        boot_id, end = self._box_state()
        if self.state in ("restarting", "on trial"):
            if end is not None and end is not self._before[1]:
                self.state = "confirmed" if end.code == UPDATE_CONFIRMED else "rolled back"
            elif boot_id != self._before[0]:
                self.state = "on trial"
        collecting = self.state == "collecting"
        return json.dumps(
            {
                "state": self.state,
                "bytes": self._wanted[0] if collecting else len(self._image),
                "done": len(self._file) if collecting else self._offset,
                "reason": self.reason,
                "firmware": self._box.hello.firmware if self._box.hello else "",
            }
        )
