"""Incidents of a list that are one disturbance at several Boxes: such a list shows them as one row. Pure.

A steady state, such as a telegram of ripple control, is an incident of each Box that shows it. At twelve
Boxes its rows would push everything else off the front page, the map and the wall.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from urllib.parse import urlencode

from opq_cloud.store.incidents.box_events import is_steady
from opq_cloud.view.web.time_span import SHORTEST_MS, input_words

TOGETHER_NS = 3 * 10**9
"""They began together if within this time: Boxes notice a telegram up to two seconds apart."""
READ_FOR_EACH_ROW = 6
"""Incidents that are read for each row of a list that folds them."""


class Listed(Protocol):
    """The common fields of an incident in the index, the store and the live feed."""

    @property
    def incident_id(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def start_ns(self) -> int: ...


T = TypeVar("T", bound=Listed)


@dataclass(frozen=True, slots=True)
class AlikeRow(Generic[T]):
    """A row of a list; `others` are the further incidents that it covers."""

    first: T
    others: tuple[T, ...] = ()

    @property
    def words(self) -> str:
        """The text after the first one's; empty where it is alone."""
        return f"and {len(self.others)} like it" if self.others else ""

    @property
    def address(self) -> str:
        """The page of the incident, or the list of all incidents of the row."""
        if not self.others:
            return f"/incidents/{self.first.incident_id}"
        from_ms = self.first.start_ns // 10**6 - TOGETHER_NS // 10**6
        span = {"from": input_words(from_ms), "to": input_words(from_ms + SHORTEST_MS)}
        return f"/incidents?{urlencode({'class': self.first.kind.partition('+')[0], **span})}"


def fold(incidents: Iterable[T], most: int) -> list[AlikeRow[T]]:
    """The first `most` rows, in the order of the incidents."""
    rows: list[list[T]] = []
    for each in incidents:
        group = next(
            (
                row
                for row in rows
                if is_steady(each.kind)
                and row[0].kind == each.kind
                and abs(row[0].start_ns - each.start_ns) <= TOGETHER_NS
            ),
            None,
        )
        if group is not None:
            group.append(each)
        elif len(rows) < most:
            rows.append([each])
    return [AlikeRow(row[0], tuple(row[1:])) for row in rows]
