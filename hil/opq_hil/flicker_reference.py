"""Pst of a rectangular modulation: what IEC 61000-4-15:2010, table 5, gives for it.

Pst is in proportion to the change, so each row of the table stands for a line. From memory of the standard;
the change at 39 per minute for 230 V was confirmed by a public test script that cites the table.
"""

from typing import Literal

from opq_hil.pollution import Flicker

Lamp = Literal["120V 60Hz", "230V 50Hz"]

PST_ONE_PERCENT: dict[Lamp, dict[float, float]] = {
    "120V 60Hz": {1: 3.178, 2: 2.561, 7: 1.694, 39: 1.045, 110: 0.844, 1620: 0.545, 4000: 3.426},
    "230V 50Hz": {1: 2.715, 2: 2.191, 7: 1.450, 39: 0.894, 110: 0.722, 1620: 0.407, 4000: 2.343},
}
"""dV/V in percent that makes Pst = 1 (within 5 %), by changes per minute."""


def flicker_of(pst: float, changes_per_minute: float, lamp: Lamp, seconds: float) -> Flicker:
    """The rectangular modulation of a row of the table that makes `pst`, from sample 0 on.

    Raises:
        ValueError: the table has no such row.
    """
    rows = PST_ONE_PERCENT.get(lamp, {})
    if changes_per_minute not in rows:
        raise ValueError(f"{changes_per_minute} changes per minute for {lamp}; want a row of table 5: {rows}")
    return Flicker(
        form="rectangular",
        modulation_hz=changes_per_minute / 120,
        change_percent=pst * rows[changes_per_minute],
        seconds=seconds,
    )


def pst_of(flicker: Flicker, lamp: Lamp) -> float | None:
    """Pst of a rectangular modulation with equal halves; None where the table has no such row."""
    if flicker.form != "rectangular" or flicker.duty != 0.5:
        return None
    change_percent = PST_ONE_PERCENT[lamp].get(round(flicker.modulation_hz * 120, 6))
    return None if change_percent is None else flicker.change_percent / change_percent
