"""PolyphaseNumbers: one number for the dips, or for the swells, of a group's Boxes that are one event. Pure.

An event of several phases begins when one of them is beyond its threshold and ends when all are back, so
disturbances that overlap are one event. Boxes are measured one after the other, and a disturbance that is
measured later may join two events. They then have the larger number, and disturbances with the other number
are returned to be written again. A number has one place on disk: the rows of the Boxes' ledgers. After a
start the disturbances are numbered again with the numbers that they have.

Source: IEC 61000-4-30:2015, 5.4.3.1 and 5.4.3.2.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from opq_gateway.config import GroupSection
from opq_gateway.measuring.feed import Values

NUMBER = "polyphase_group"
"""Name among the values of a disturbance; whole, and exact in double precision until the year 75,000."""
MOST_APART_NS = 20_000_000
"""Disturbances of two Boxes with at most this gap may be joined by the uncertainties of their clocks."""
REMEMBERED_NS = 3600 * 10**9
"""Events that ended this long before the newest event are forgotten."""


@dataclass(slots=True)
class _Event:
    number: int
    rows: dict[tuple[str, int], Values] = field(default_factory=dict)
    """By Box and beginning."""

    @property
    def end_ns(self) -> int:
        return max(each.end_ns for each in self.rows.values())

    def meets(self, values: Values) -> bool:
        """Whether a disturbance belongs to this event."""
        if (values.box_id, values.start_ns) in self.rows:
            return True
        uncertain_ns = max(each.uncertainty_ns for each in self.rows.values()) + values.uncertainty_ns
        apart_ns = min(uncertain_ns, MOST_APART_NS)
        start_ns = min(each.start_ns for each in self.rows.values())
        return start_ns - apart_ns <= values.end_ns and values.start_ns <= self.end_ns + apart_ns


class PolyphaseNumbers:
    """The events of all groups; a Box in several groups has the events of the first one."""

    def __init__(self, groups: Sequence[GroupSection]) -> None:
        self._group_of: dict[str, str] = {}
        for group in groups:
            for box_id in group.boxes:
                self._group_of.setdefault(box_id, group.name)
        self._events: dict[tuple[str, bool], list[_Event]] = {}

    def number(self, values: Values) -> list[Values]:
        """The disturbance with its number, then those of other Boxes whose number it changes.

        A Box in no group has no number. A disturbance with a number keeps it, or gets a larger one.
        """
        group = self._group_of.get(values.box_id)
        if group is None:
            return [values]
        is_swell = values.kind == "swell"
        events = self._events.setdefault((group, is_swell), [])
        met = [each for each in events if each.meets(values)]
        if stated := int(_number(values)):
            met.append(_Event(stated))
        elif not met:
            met = [_Event(2 * (values.start_ns // 1_000_000) + is_swell)]
        event = max(met, key=lambda each: each.number)
        changed = [row for each in met if each is not event for row in each.rows.values()]
        event.rows |= {(row.box_id, row.start_ns): row for row in [*changed, values]}
        kept = [each for each in events if each.end_ns > values.start_ns - REMEMBERED_NS]
        self._events[group, is_swell] = [*(each for each in kept if each not in met), event]
        changed = [row for row in changed if (row.box_id, row.start_ns) != (values.box_id, values.start_ns)]
        return [
            replace(row, values={**row.values, NUMBER: float(event.number)}) for row in (values, *changed)
        ]

    @property
    def box_ids(self) -> list[str]:
        """The Boxes of all groups."""
        return list(self._group_of)

    def restore(self, rows: Iterable[Values]) -> list[Values]:
        """Takes the disturbances that were written before a start, in any order; call it before the first
        `number`.

        Returns those whose number is another one now, to be written again: a kill came between the rows of
        two Boxes.
        """
        newest: dict[tuple[str, bool, int], Values] = {}
        for each in sorted(rows, key=lambda row: (row.end_ns, _number(row))):
            newest[each.box_id, each.kind == "swell", each.start_ns] = each
        final = dict(newest)
        for each in newest.values():
            for numbered in self.number(each):
                final[numbered.box_id, numbered.kind == "swell", numbered.start_ns] = numbered
        return [each for key, each in final.items() if _number(each) != _number(newest[key])]


def _number(values: Values) -> float:
    found = values.values.get(NUMBER)
    return found if isinstance(found, float) else 0.0
