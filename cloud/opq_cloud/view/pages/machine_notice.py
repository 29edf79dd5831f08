"""The notice that this machine is too slow for its Boxes, or that its gateway paused. `opq-tools up` measures
and writes it, and pages show it.

It is a file in the folder of the store, because View has no other link to `up`. A notice that is not written
again for SHOWN_S is not shown, because its writer has ended or the machine is fast enough again.
"""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from opq_cloud.view.web.words import counted

FILE = "machine.json"
SHOWN_S = 90.0


@dataclass(frozen=True, slots=True)
class MachineNotice:
    """How many Boxes run here, the share of their samples that was measured, and how many would fit; or for
    how long the gateway paused, which fewer Boxes would not change."""

    boxes: int
    share: float
    fit: int
    stood_still_s: float = 0.0

    @property
    def text(self) -> str:
        """For pages, and for the terminal of `up`."""
        if self.stood_still_s:
            return f"{standstill_words(self.stood_still_s)}."
        whose = "the" if self.boxes == 1 else "their"
        slow = (
            f"This machine is too slow for {counted(self.boxes, 'Box', 'Boxes')}: "
            f"it measured {100 * self.share:.0f} % of {whose} samples."
        )
        if not self.fit:
            return f"{slow} It is too slow for one Box, too."
        return f"{slow} By what it measured, it is fast enough for {counted(self.fit, 'Box', 'Boxes')}."


def standstill_words(seconds: float) -> str:
    """For pages, and for the terminal of `up`."""
    who = "The gateway, or this whole machine,"
    return f"{who} paused for {seconds:.0f} s; samples of that time may be missing"


def write_notice(folder: Path, notice: MachineNotice | None) -> None:
    """Writes the notice, or removes it; an error of the file system is ignored, the terminal has it too."""
    path = folder / FILE
    with suppress(OSError):
        if notice is None:
            path.unlink(missing_ok=True)
            return
        new = path.with_suffix(".new")
        new.touch(0o600)
        new.write_text(json.dumps(asdict(notice)), encoding="utf-8")
        new.replace(path)


def read_notice(folder: Path | None) -> MachineNotice | None:
    """The notice that pages show now; None if there is none, it is too old, or it cannot be read."""
    if folder is None:
        return None
    path = folder / FILE
    try:
        if time.time() - path.stat().st_mtime > SHOWN_S:
            return None
        facts = json.loads(path.read_text(encoding="utf-8"))
        stood_still_s = float(facts.get("stood_still_s", 0.0))
        return MachineNotice(int(facts["boxes"]), float(facts["share"]), int(facts["fit"]), stood_still_s)
    except (OSError, ValueError, TypeError, KeyError):
        return None
