"""Update in place: sends a new image to the Box's free slot over the serial link while the Box runs.

The Box (its app, or the boot loader's recovery) checks the image itself and starts it on trial; until it has
verified the whole image, the old firmware stays the one that starts. A piece that is lost or damaged on the
line costs one more answer, in which the Box states the offset that it expects next.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from opq_proto.firmware.image import ERASE_S, PIECE_BYTES, ImageError, Slot, refusal_words, version_number
from opq_proto.link.log_codes import UPDATE_CONFIRMED, UPDATE_ROLLED_BACK
from opq_proto.link.messages import Acknowledgement, Hello, Operation, Status, UpdateData
from opq_tools.firmware.flash.box_link import ANSWER_S, BoxLink, NoHelloError
from opq_tools.firmware.flash.chip import FlashError, LineError
from opq_tools.firmware.flash.flash_progress import FlashProgress

TRIES = 10
ACCEPTED = (
    "The Box has the whole new firmware; its boot loader goes back to the old one after three starts without "
    "health. Look at plug and wiring, and check it with opq-tools chip"
)
UNCONFIRMED = (
    "The Box has all bytes of the new firmware, but did not confirm the end of the update: it goes on with "
    "{} unless it starts again by itself. Look at plug and wiring, check it with opq-tools chip, and run the "
    "same command again"
)
"""Only UPDATE_END makes the new image one that can start; {} is the firmware that runs."""
CONFIRM_S = 20.0
"""The app confirms itself after 10 s of samples without a loss (device/app/updater.py)."""
RESTART_S = 9.0
"""Verify, reset, the boot loader's check of the signature, and the first hello."""


@dataclass(frozen=True, slots=True)
class UpdateOutcome:
    """Result of an update."""

    before: Hello
    after: Hello
    slot: str
    confirmed: bool
    """The new firmware has reported health; until then it is on trial."""
    still_recovery: bool
    """The boot loader still waits in recovery because its jumper is set."""
    resent_pieces: int
    seconds: float


def update_in_place(
    box: BoxLink, images: Mapping[Slot, bytes], version: int, before: Hello, steps: FlashProgress
) -> UpdateOutcome:
    """Sends the image for the free slot; the Box verifies and starts it.

    Raises:
        FlashError: the Box does not run the new firmware; the text says what it runs.
    """
    started = time.monotonic()
    largest = max(len(image) for image in images.values())
    try:
        begun = box.command(Operation.UPDATE_BEGIN, str(largest), within_s=ERASE_S)
        if begun.status is not Status.DONE:
            raise FlashError(f"the Box does not begin an update: {_refusal(begun)}")
        slot = _slot(images, begun.detail)
        steps.step(f"sending image {slot.name}", len(images[slot]))
        _send_image(box, images[slot], steps)
        box.logged.clear()
        ended = _end(box)
        if ended is not None and ended.status is not Status.DONE:
            raise FlashError(f"the Box refuses the image: {_refusal(ended)}")
    except (LineError, FlashError) as error:
        raise FlashError(
            f"{error}. The update is incomplete, and the Box keeps the firmware that it has "
            f"({before.firmware}); run the same command again"
        ) from error
    held = ACCEPTED if ended is not None else UNCONFIRMED.format(before.firmware)
    after = _new_start(box, before, held)
    try:
        rolled_back = box.listen(UPDATE_ROLLED_BACK, 0.5)
        confirmed = _version(after) == version and box.listen(UPDATE_CONFIRMED, CONFIRM_S)
    except LineError as error:
        raise FlashError(
            f"{error}. The Box runs {after.firmware}, and goes back to {before.firmware} by itself if that "
            "does not report health. Check it later with opq-tools chip"
        ) from error
    if rolled_back or _version(after) not in (None, version):
        raise FlashError(
            f"the Box runs {after.firmware}: the new firmware did not report health and was rolled back"
        )
    return UpdateOutcome(
        before, after, slot.name, confirmed, _version(after) is None, box.resent, time.monotonic() - started
    )


def _send_image(box: BoxLink, image: bytes, steps: FlashProgress) -> None:
    """Sends the image, each piece from the offset that the Box requests.

    Raises:
        LineError: the Box no longer answers.
        FlashError: the Box refuses the image.
    """
    offset, failures, busy_until = 0, 0, time.monotonic() + ERASE_S
    while offset < len(image):
        command_id = box.next_id()
        piece = UpdateData(command_id, offset, image[offset : offset + PIECE_BYTES])
        answer = box.exchange(piece, command_id)
        if answer is None:
            box.resent += 1
            failures += 1
            if failures > TRIES:
                raise LineError(f"no answer to byte {offset}, {TRIES} times")
            continue
        failures = 0
        if answer.status is Status.BUSY:
            if time.monotonic() > busy_until:
                raise LineError(f"busy erasing its flash for {ERASE_S:g} s, at byte {offset}")
            time.sleep(0.05)
            continue
        if answer.status is not Status.DONE:
            raise FlashError(f"the Box refuses the image at byte {offset}: {_refusal(answer)}")
        busy_until = time.monotonic() + ERASE_S
        wanted = _offset(answer, len(image))
        if wanted > offset:
            steps.done(wanted - offset)
        offset = wanted


def _version(hello: Hello) -> int | None:
    try:
        return version_number(hello.firmware)
    except ImageError:  # the boot loader's recovery, or foreign firmware
        return None


def _end(box: BoxLink) -> Acknowledgement | None:
    """Ends the update; None where the answer was lost, since the Box's next start shows the result."""
    try:
        return box.command(Operation.UPDATE_END, within_s=3 * ANSWER_S)
    except LineError:
        return None


def _new_start(box: BoxLink, before: Hello, held: str) -> Hello:
    """Waits for the first hello of a start other than `before`; without one, `held` says what the Box has."""
    end = time.monotonic() + RESTART_S
    while time.monotonic() < end:
        try:
            found = box.hello(within_s=1.0)
        except NoHelloError:
            continue
        except LineError as error:
            raise FlashError(f"{error}. {held}") from error
        if found.boot_id != before.boot_id:
            return found
    raise FlashError(f"no Hello of a new start came within {RESTART_S:g} s. {held}")


def _slot(images: Mapping[Slot, bytes], detail: str) -> Slot:
    """The slot whose image the Box wants, as named in its answer."""
    if detail not in Slot.__members__:
        raise FlashError(f"the Box did not name the slot whose image it wants; it answered {detail!r}")
    if Slot[detail] not in images:
        raise FlashError(f"the Box wants the image for slot {detail}, which the file does not have")
    return Slot[detail]


def _offset(answer: Acknowledgement, length: int) -> int:
    if not answer.detail.isdecimal() or int(answer.detail) > length:
        raise FlashError(f"the Box wants byte {answer.detail!r} of {length} next")
    return int(answer.detail)


def _refusal(answer: Acknowledgement) -> str:
    return refusal_words(answer.status.name, answer.detail)
