"""NetworkOutages: when each Box's network is lost and comes back, drawn from the seed and the Box's id.

Lengths of outages and the times between them are exponential, so an outage may come at any time.
"""

from collections.abc import Sequence

import numpy as np


class NetworkOutages:
    """Outages by the Box's index; times are seconds after the run's start, requested in rising order."""

    def __init__(self, box_ids: Sequence[str], every_s: float, lasts_s: float, seed: int) -> None:
        """`every_s`: mean time between two outages of a Box; `lasts_s`: their mean length."""
        self._means_s = every_s, lasts_s
        self._drawn = [np.random.Generator(np.random.PCG64([seed, 0x0FF, int(box_id)])) for box_id in box_ids]
        self._down = np.zeros(len(box_ids), np.bool_)
        self._next_s = np.array([one.exponential(every_s) for one in self._drawn])

    def changes(self, t_s: float) -> list[tuple[int, bool]]:
        """Boxes whose network was lost (True) or came back (False) up to now, in no order between Boxes."""
        found = []
        while len(due := np.flatnonzero(self._next_s <= t_s)):
            for box in due.tolist():
                self._down[box] = not self._down[box]
                mean_s = self._means_s[1] if self._down[box] else self._means_s[0]
                self._next_s[box] += self._drawn[box].exponential(mean_s)
                found.append((box, bool(self._down[box])))
        return found
