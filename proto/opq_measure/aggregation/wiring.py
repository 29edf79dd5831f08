"""How three Boxes of one supply are connected, by the angles between their fundamentals.

A turn of all three (L1-L2-L3 stated as L2-L3-L1) leaves the angles between them as they are, so that it
cannot be seen inside a site.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from opq_measure.signal import FloatArray

STEP_DEG = 60.0
NEAR_DEG = 20.0
"""A wrong connection moves an angle by 60 degrees or more; no unbalance moves it by as much as this."""
LEAST_SHARE = 0.01
LEAST_INTERVALS = 3
"""Intervals, and share of them, that have to show a wrong connection: fewer may be a switching operation."""
NAMES = {"a": "L1", "b": "L2", "c": "L3"}
_RIGHT = (-2, 2)
_WRONG: Mapping[tuple[int, int], tuple[bool, str]] = {
    (2, -2): (True, ""),
    (1, -1): (False, "a"),
    (1, 2): (False, "b"),
    (-2, -1): (False, "c"),
    (-1, 1): (True, "a"),
    (-1, -2): (True, "b"),
    (2, 1): (True, "c"),
}
"""Angles of b and c against a in steps of 60 degrees -> two are exchanged, and which is turned round."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """A connection that is not as stated."""

    exchanged: bool = False
    """Whether two phases are exchanged: the phases turn the other way."""
    inverted: str = ""
    """a, b or c: the Box of this phase is turned round, by 180 degrees."""
    same: tuple[str, str] | None = None
    """Two phases that are one."""

    def words(self, box_of: Mapping[str, str]) -> str:
        """`L2 and L3 are exchanged: ...`; `box_of`: phase a, b or c -> its Box in words."""
        found = []
        if self.exchanged:
            found.append(
                f"L2 and L3 ({box_of['b']} and {box_of['c']}) are exchanged, or two others of the three: "
                "the phases turn the other way"
            )
        if self.inverted:
            found.append(f"{box_of[self.inverted]} on {NAMES[self.inverted]} is turned round by 180 degrees")
        if self.same:
            first, second = self.same
            found.append(
                f"{box_of[first]} and {box_of[second]} measure one phase, "
                f"stated as {NAMES[first]} and {NAMES[second]}"
            )
        return "; ".join(found)


def wiring_of(angle_b_deg: float, angle_c_deg: float) -> Wiring | None:
    """Returns what is wrong by the angles of b and c against a; None where nothing is, or it is not clear."""
    if not (math.isfinite(angle_b_deg) and math.isfinite(angle_c_deg)):
        return None
    steps = round(angle_b_deg / STEP_DEG), round(angle_c_deg / STEP_DEG)
    off = max(abs(angle_b_deg - STEP_DEG * steps[0]), abs(angle_c_deg - STEP_DEG * steps[1]))
    if off > NEAR_DEG or steps == _RIGHT:
        return None
    if steps in _WRONG:
        return Wiring(*_WRONG[steps])
    pairs = ((("a", "b"), steps[0]), (("a", "c"), steps[1]), (("b", "c"), steps[0] - steps[1]))
    same = next((pair for pair, apart in pairs if apart % 3 == 0), None)
    return None if same is None else Wiring(same=same)


def wiring_of_intervals(angle_b_deg: FloatArray, angle_c_deg: FloatArray) -> tuple[Wiring, int] | None:
    """Returns what is wrong in most of some intervals, and in how many; None where it is in too few."""
    found = Counter(map(wiring_of, angle_b_deg.tolist(), angle_c_deg.tolist()))
    known = int(sum(math.isfinite(each) for each in angle_b_deg.tolist()))
    found.pop(None, None)
    if not found:
        return None
    wiring, count = found.most_common(1)[0]
    if wiring is None or count < max(min(LEAST_INTERVALS, known), LEAST_SHARE * known):
        return None
    return wiring, count
