"""Updater: writes a firmware image from the line into the other slot, and confirms an image on trial.

A running image on trial is confirmed after CONFIRM_MS of samples without a loss or an exception. If that does
not happen within GIVE_UP_MS, the Box resets, until the boot loader goes back to the older image. CONFIRM_MS
without a fault also end the boot loader's count of watchdog resets in a row, for every image.
"""

import time

import codes
from journal import Journal
from opq import acquire, board, pipeline, update
from sampler import Sampler
from supervisor import EXEMPT_UPDATE, Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SLOT_BYTES = 0x60000
CONFIRM_MS = 10_000
GIVE_UP_MS = 120_000
CONFIRM_AGAIN_MS = 5000
BREATHE_MS = 2000
"""Pause between the erases of two sectors. An erase takes 1 to 2 s (DS8626 table 40) and nothing is sent
meanwhile; in the pause the samples in the ring of 3.2 s are sent, at three times the real rate."""
IDLE_MS = 30_000
"""After so long without a piece the update counts as ended, and the watchdog needs samples again."""


class Updater:
    """`receiving`: from begin to end, or to IDLE_MS after the last piece."""

    def __init__(
        self,
        journal: Journal,
        sampler: Sampler,
        supervisor: Supervisor,
        ticks_ms: "Callable[[], int]" = time.ticks_ms,
    ) -> None:
        self._journal = journal
        self._sampler = sampler
        self._supervisor = supervisor
        self._ticks_ms = ticks_ms
        self._began_ms = self._healthy_ms = ticks_ms()
        self._trial = update.on_trial()
        facts = update.boot()
        self._owes_health = self._trial or (facts is not None and facts[2] > 0)
        self._lost = 0
        self._exceptions = 0
        self._confirm_ms = 0
        self._erasing = False
        self._erase_ms = 0
        self._piece_ms = 0
        self._refused = 0
        self.receiving = False
        if update.rolled_back():
            journal.put(codes.UPDATE_ROLLED_BACK)

    def begin(self, argument: str) -> tuple[int, str]:
        """Begins an update; returns status and detail of the acknowledgement: the slot to send for."""
        try:
            length = int(argument)
        except ValueError:
            length = 0
        if not 0 < length <= SLOT_BYTES:
            return codes.BAD_ARGUMENT, "want the image's length in bytes"
        status = update.begin(length)
        if status == update.OK:
            self._erasing = False
            self._refused = 0
            self._receives(True)
            self._journal.put(codes.UPDATE_BEGUN, length, update.slot())
            return codes.DONE, "AB"[update.slot()]
        if status == update.ON_TRIAL:
            return codes.BUSY, "the running image is on trial"
        return (codes.BAD_ARGUMENT if status == update.BAD_LENGTH else codes.FAILED), f"status {status}"

    def data(self, command_id: int, offset: int, piece: bytes) -> None:
        """Writes a piece; acknowledges with the offset of the next one; busy during an erase."""
        status = update.data(offset, piece)
        if status in (update.OK, update.WRONG_OFFSET, update.BUSY):  # no update, no exemption
            self._receives(True)
        if status in (update.OK, update.WRONG_OFFSET):
            pipeline.acknowledge(command_id, codes.DONE, str(update.next()))
        elif status == update.BUSY:
            if not self._erasing:
                self._erasing = True
                self._erase_ms = self._ticks_ms()
            pipeline.acknowledge(command_id, codes.BUSY, str(update.next()))
        elif status == update.BAD_IMAGE:
            self._refuse(update.next())
            pipeline.acknowledge(command_id, codes.FAILED, f"verdict {update.verdict()}")
        else:
            pipeline.acknowledge(command_id, codes.FAILED, f"status {status}")

    def step(self) -> None:
        """Erases one sector at a time, so that the loop goes on; watches the sender and the trial."""
        if self._erasing:
            if time.ticks_diff(self._ticks_ms(), self._erase_ms) >= 0:
                self._erasing = update.step() == update.BUSY
                self._erase_ms = time.ticks_add(self._ticks_ms(), BREATHE_MS)
            self._piece_ms = self._ticks_ms()
        elif self.receiving and time.ticks_diff(self._ticks_ms(), self._piece_ms) > IDLE_MS:
            self._receives(False)
        if self._owes_health:
            self._watch_health()

    def end(self) -> tuple[int, str]:
        """Verifies the image and marks it for trial; the caller resets if the status is DONE."""
        length = update.next()
        status = update.end()
        if status == update.BUSY:
            return codes.BUSY, "erasing"
        self._receives(False)
        if status == update.OK:
            self._journal.put(codes.UPDATE_VERIFIED, length, update.slot())
            return codes.DONE, "AB"[update.slot()]
        if status == update.BAD_IMAGE:
            self._refuse(length)
            return codes.FAILED, f"verdict {update.verdict()}"
        return codes.FAILED, f"status {status}"

    def _refuse(self, at_byte: int) -> None:
        """Logs each verdict once per update, although more pieces may follow."""
        self._receives(False)
        verdict = update.verdict()
        if verdict != self._refused:
            self._refused = verdict
            self._journal.put(codes.UPDATE_REFUSED, verdict, at_byte)

    def _receives(self, receiving: bool) -> None:
        if receiving:
            self._supervisor.exempt |= EXEMPT_UPDATE
        else:
            self._supervisor.exempt &= ~EXEMPT_UPDATE
        self.receiving = receiving
        self._piece_ms = self._ticks_ms()

    def _watch_health(self) -> None:
        now_ms = self._ticks_ms()
        if (
            self._sampler.stopped
        ):  # on purpose: this is not a fault of the image; its time begins with the samples
            self._began_ms = self._healthy_ms = now_ms
            return
        counters = acquire.counters()
        lost = counters[1] + counters[3]
        well = self._sampler.running and time.ticks_diff(now_ms, self._sampler.moved_ms) < 1000
        if not well or lost != self._lost or self._supervisor.exceptions != self._exceptions:
            self._healthy_ms = now_ms
            self._lost = lost
            self._exceptions = self._supervisor.exceptions
        if time.ticks_diff(now_ms, self._healthy_ms) >= CONFIRM_MS:
            if time.ticks_diff(now_ms, self._confirm_ms) < 0:
                return
            status = update.confirm()
            if status == 0:
                if self._trial:
                    self._journal.put(codes.UPDATE_CONFIRMED, 1 - update.slot())
                self._trial = self._owes_health = False
            else:
                self._confirm_ms = time.ticks_add(now_ms, CONFIRM_AGAIN_MS)
                self._journal.put(codes.UPDATE_CONFIRM_FAILED, status)
        elif self._trial and time.ticks_diff(now_ms, self._began_ms) >= GIVE_UP_MS:
            board.reset()
