"""Budgets of requests: bytes of samples and half cycles a minute, from and because of each Box, and in all.

A budget is a bucket of a minute's bytes that refills evenly. The last quarter of the whole is reserved for
Boxes that saw the disturbance themselves. When a Box's decisions have used up the budget for requests to
others, only that Box itself is asked."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from opq_cloud.core.settings.makai_settings import AskingSection
from opq_proto.kit.rate_limit import TokenBuckets
from opq_proto.wire.half_cycles import MAX_POINTS

BYTES_PER_S = 24_000
"""One Box sends 12 kS/s of 2 bytes."""
HALF_CYCLES_PER_S = 120
"""At 60 Hz."""
VALUE_BYTES = 6
"""Bytes of a value on the wire: a float and the step of its time in us."""
POINT_BYTES = 11
"""Bytes of a point of several values: a second float and a longer step."""
MAX_BOXES = 100_000
RESERVED_SHARE = 0.25
"""This share of the whole budget is kept for Boxes that saw something themselves."""
BY_BOX = "budget_by_box"
"""Reason of refusal: the Box that saw the disturbance has caused too many requests."""
OF_BOX = "budget_of_box"
"""Reason of refusal: the asked Box has sent too much."""
WHOLE = "budget_of_all"
"""Reason of refusal: all Boxes together have sent too much."""
WHOLE_KEY = ""


def bytes_of_span(start_ns: int, end_ns: int) -> int:
    """Returns the size of one Box's samples of [start_ns, end_ns)."""
    return round((end_ns - start_ns) * BYTES_PER_S / 1e9)


def bytes_of_half_cycles(span_ns: tuple[int, int]) -> int:
    """Returns the largest size of one gateway's answer with Urms(1/2) of the span, at 60 Hz."""
    values = round((span_ns[1] - span_ns[0]) * HALF_CYCLES_PER_S / 1e9)
    if values <= MAX_POINTS:
        return values * VALUE_BYTES
    return MAX_POINTS * POINT_BYTES


class RequestBudget:
    """The budgets of one triggering service; one owner."""

    def __init__(self, limits: AskingSection, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        def bucket(bytes_per_min: int) -> TokenBuckets:
            return TokenBuckets(bytes_per_min, bytes_per_min / 60, MAX_BOXES, monotonic_s)

        self._reserve = RESERVED_SHARE * limits.bytes_per_min
        self._whole = bucket(limits.bytes_per_min)
        self._of_box = bucket(limits.bytes_per_min_of_box)
        self._by_box = bucket(limits.bytes_per_min_by_box)

    def spend(
        self, seen_by: Sequence[str], others: Sequence[str], size: int
    ) -> tuple[tuple[str, ...], Counter[str]]:
        """Returns which of these are asked for `size` bytes each, and how many are not, by reason.

        Args:
            seen_by: Boxes that saw it, the first one caused the request; they come first.
            others: in the order of importance.
        """
        granted: list[str] = []
        refused: Counter[str] = Counter()
        for box_id in seen_by:
            if self._of_box.left(box_id) < size:
                refused[OF_BOX] += 1
            elif not self._whole.spend(WHOLE_KEY, size):
                refused[WHOLE] += 1
            else:
                self._of_box.spend(box_id, size)
                granted.append(box_id)
        cause = seen_by[0] if seen_by else WHOLE_KEY
        for box_id in others if granted else ():
            reason = self.spend_for(cause, box_id, size)
            if reason is None:
                granted.append(box_id)
            else:
                refused[reason] += 1
        return tuple(granted), refused

    def spend_for(self, cause: str, box_id: str, size: int) -> str | None:
        """Spends the budget for one Box because of what `cause` saw, without the reserve.

        Returns None if it is spent, otherwise the budget that is used up.
        """
        if self._of_box.left(box_id) < size:
            return OF_BOX
        if self._by_box.left(cause) < size:
            return BY_BOX
        if self._whole.left(WHOLE_KEY) - size < self._reserve:
            return WHOLE
        self._whole.spend(WHOLE_KEY, size)
        self._of_box.spend(box_id, size)
        self._by_box.spend(cause, size)
        return None
