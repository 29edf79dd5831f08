"""Serving: whether a gateway takes samples of every Box now, by its counters. Pure.

Health calls a Box `sampling` for 5 s after its last block: as long as a plug may be out here.
"""

from collections.abc import Sequence

from opq_hil.gateway_faults.gauges import Reading

COUNTER = "samples"


class Serving:
    """From the first look on every Box's counter of samples has to rise."""

    def __init__(self, box_ids: Sequence[str]) -> None:
        self._lowest: dict[str, float] = {}
        self._box_ids = box_ids

    def objection(self, reading: Reading | None) -> str | None:
        """What is missing still; None: samples of all Boxes came since the first look."""
        if reading is None:
            return "it does not answer"
        still = []
        for box_id in self._box_ids:
            count = reading.counts.get((COUNTER, box_id), 0.0)
            lowest = self._lowest[box_id] = min(count, self._lowest.get(box_id, count))  # 0 by a new start
            if count <= lowest:
                still.append(box_id)
        return f"no samples of Boxes {', '.join(still)}" if still else None
