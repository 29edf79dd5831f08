"""The address of `/compare`: Boxes or a group, a span or weeks, metric and unit; it describes the view fully.

`?box=1,4&metric=rms_v&y=percent&from=now-7d&to=now` draws each Box; `together=1` draws all as one;
`weeks=4&tz=` overlays the week of `to` with this many earlier ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import HTTPException

from opq_cloud.view.pages.boxes.history_page import chosen_span
from opq_cloud.view.pages.past.box_choice import BoxChoice, GroupNames, read_box_choice
from opq_cloud.view.pages.visible.past_before import query_zone
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.time_span import TimeSpan
from opq_proto.measurement.fields import DRAWN

MAX_SERIES = 6
"""The number of distinguishable colours; more Boxes become one series."""
MAX_WEEKS = MAX_SERIES - 1
FIELDS = ("box", "region", "feeder", "metric", "y", "together", "weeks", "tz", "from", "to")
QUANTITIES = {each.name: each for each in DRAWN}
"""By the name in the address."""


@dataclass(frozen=True, slots=True)
class CompareAddress:
    """The state of the page; `query` has every field, so that a link shows the same to equal visitors."""

    choice: BoxChoice
    span: TimeSpan
    metric: str
    voltage_unit: str
    """`V`, or `percent` of each Box's own nominal voltage."""
    together: bool
    weeks: int
    zone: ZoneInfo

    @property
    def percent(self) -> bool:
        return self.metric == "rms_v" and self.voltage_unit == "percent"

    @property
    def fields(self) -> dict[str, str]:
        return {
            **self.choice.fields,
            "metric": self.metric,
            "y": self.voltage_unit,
            "together": "1" if self.together else "",
            "weeks": str(self.weeks) if self.weeks else "",
            "tz": self.zone.key if self.weeks else "",
            "from": self.span.from_words,
            "to": self.span.to_words,
        }

    @property
    def query(self) -> str:
        return self.changed()

    def changed(self, **fields: str) -> str:
        """The query with other values; `start` and `end` mean `from` and `to`; empty ones are left out."""
        named = {{"start": "from", "end": "to"}.get(name, name): value for name, value in fields.items()}
        found = self.fields | named
        return urlencode([(name, found[name]) for name in FIELDS if found[name]], safe=",")


def read_compare_address(
    context: VisitorContext, params: Mapping[str, str], boxes: list[str], groups: GroupNames
) -> CompareAddress:
    """Reads the address. Raises HTTPException 404 or 400 in words for people."""
    metric = params.get("metric", "") or DRAWN[0].name
    if metric not in QUANTITIES:
        raise HTTPException(404, f"There is no such metric; there are {', '.join(QUANTITIES)}.")
    weeks = params.get("weeks", "") or "0"
    if weeks not in {str(count) for count in range(MAX_WEEKS + 1)}:
        raise HTTPException(
            400,
            f"weeks is {weeks[:40]!r}; want 0 to {MAX_WEEKS}.",
        )
    choice = read_box_choice(context, boxes, params.get("region", ""), params.get("feeder", ""), groups)
    looked_at = () if weeks != "0" else choice.box_ids
    span = chosen_span(context, looked_at, params.get("from", ""), params.get("to", ""))
    many = len(choice.boxes) > MAX_SERIES
    return CompareAddress(
        choice,
        span,
        metric,
        voltage_unit=_voltage_unit(context, params.get("y", "")),
        together=bool(params.get("together")) or many or weeks != "0",
        weeks=int(weeks),
        zone=query_zone(context, params.get("tz", "")),
    )


def _voltage_unit(context: VisitorContext, named: str) -> str:
    """The unit of the address, or else of the account. Raises HTTPException 400 if there is no such."""
    if named not in ("", "V", "percent"):
        raise HTTPException(400, f"y is {named[:40]!r}; want V or percent.")
    return named or context.visitor.voltage_unit
