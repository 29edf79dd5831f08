"""Protection of a chip by its option bytes: brown-out level 3, and boot sectors that cannot be written.

The running firmware sets them, over the link, and reports what the chip has then. Below brown-out level 3
(2.70 V) the chip is held in reset, so that no supply that sinks slowly executes or writes nonsense.
"""

from collections.abc import Callable
from dataclasses import dataclass

from opq_proto.link.box_facts import BROWN_OUT_LEVELS, sectors_text
from opq_proto.link.messages import Operation, Status
from opq_tools.firmware.flash.box_link import BoxLink
from opq_tools.firmware.flash.chip import FlashError, LineError

ANSWER_S = 5.0
"""The option bytes are erased and programmed meanwhile."""


@dataclass(frozen=True, slots=True)
class Protection:
    """What the option bytes hold."""

    level: int
    """Brown-out level, 0 (off) to 3 (2.70 V)."""
    sectors: int
    """A bit for each write-protected sector."""

    def facts(self) -> dict[str, str]:
        """Both in words."""
        level = BROWN_OUT_LEVELS.get(self.level, str(self.level))
        return {"brown_out_level": level, "protected_sectors": sectors_text(self.sectors)}

    @property
    def words(self) -> str:
        """Both in one line."""
        return "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.facts().items())


WANTED_PROTECTION = Protection(3, 0b11)


def read_protection(box: BoxLink) -> Protection:
    """The chip's option bytes, as the Box reports them.

    Raises:
        FlashError: its firmware does not know the request, or the boot loader answers.
    """
    return _exchange(box, "", "its firmware does not report its option bytes: update it first")


def offer_protection(box: BoxLink, wanted: bool | None, ask: Callable[[str], bool]) -> Protection:
    """Shows the option bytes, asks where `wanted` is None, sets them, and returns what was read back.

    Raises:
        FlashError: the Box refused, or holds something else afterwards.
    """
    there = read_protection(box)
    covered = there.sectors & WANTED_PROTECTION.sectors == WANTED_PROTECTION.sectors
    if (there.level == WANTED_PROTECTION.level and covered) or wanted is False:
        return there
    if wanted is None and not ask(f"Option bytes: {there.words}. Set them to {WANTED_PROTECTION.words}?"):
        return there
    _exchange(
        box, f"{WANTED_PROTECTION.level} {WANTED_PROTECTION.sectors}", "the Box does not set its option bytes"
    )
    found = read_protection(box)
    if (
        found.level != WANTED_PROTECTION.level
        or found.sectors & WANTED_PROTECTION.sectors != WANTED_PROTECTION.sectors
    ):
        raise FlashError(f"the Box holds {found.words}, not {WANTED_PROTECTION.words}")
    return found


def _exchange(box: BoxLink, argument: str, problem: str) -> Protection:
    try:
        answer = box.command(Operation.PROTECT, argument, within_s=ANSWER_S)
    except LineError as error:
        raise FlashError(f"{problem} ({error})") from error
    if answer.status is not Status.DONE:
        raise FlashError(f"{problem} ({answer.status.name.lower()}, {answer.detail})")
    try:
        level, sectors = map(int, answer.detail.split(" "))
    except ValueError:
        raise FlashError(f"{problem} (it answers {answer.detail!r})") from None
    return Protection(level, sectors)
