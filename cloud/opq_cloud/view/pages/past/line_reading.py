"""Reads the lines of `/past` in one span: of each Box, of each phase of a site, or of all as one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.view.pages.drawing.local_weeks import LocalSpan
from opq_cloud.view.pages.past.address import PastAddress
from opq_cloud.view.pages.past.box_choice import BoxChoice
from opq_cloud.view.pages.past.harmonics import Harmonics, read_harmonics
from opq_cloud.view.pages.past.lines_together import HiddenBox, after_one_another, joined
from opq_cloud.view.pages.past.quantities import PastQuantity
from opq_cloud.view.pages.past.quantity_reading import ROWS_DRAWN, PastReader
from opq_cloud.view.pages.past.series import PastSeries
from opq_cloud.view.pages.past.served_lines import (
    ServedLine,
    SiteReader,
    lines_of_boxes,
    lines_of_group,
    lines_of_site,
)
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.time_span import TimeSpan, input_words

ROWS_READ = 12_000
"""Rows of all Boxes of a chart together, at most: with more Boxes the rows are longer."""
FEWEST_ROWS = 60
HIDDEN_ROW_MS = 600_000
"""Boxes that are shown as figures only count in rows of this length or longer."""


def rows_for(boxes: int) -> int:
    """Rows of each Box of a chart with so many Boxes."""
    return max(FEWEST_ROWS, min(ROWS_DRAWN, ROWS_READ // max(1, boxes)))


def read_lines(
    context: VisitorContext,
    services: ViewServices,
    address: PastAddress,
    quantities: Sequence[PastQuantity],
    span: TimeSpan,
    now_ms: int,
    rows: int,
    boxes: Sequence[ShownBox],
    hidden: Sequence[HiddenBox],
    served: Sequence[ServedLine],
) -> dict[str, list[PastSeries]]:
    """Quantity -> one line for each Box, or one for all. `served`: the lines of `boxes` in the span."""
    if hidden:
        rows = max(1, min(rows, span.length_ms // HIDDEN_ROW_MS))
    heard_ms, class_a = cache(context.first_heard_ms), address.class_a_in(span, rows)
    reader = PastReader(context.store, span, now_ms, heard_ms, address.percent, class_a, rows)
    found = [_served(reader, each, quantities) for each in served]
    if hidden:
        whole = PastReader(services.store, span, now_ms, lambda box_id: 0.0, True, rows=rows)
        found += [replace(whole, stays=each.stays).box(each.box, quantities) for each in hidden]
    lines: dict[str, list[PastSeries]] = {}
    for quantity in quantities:
        own = [each[quantity.name] for each in found]
        if quantity.interval == "u2_ratio" and address.choice.kind == "site":
            own = [_of_site(context, services, reader, address.choice, quantity)]
        elif not own:
            own = [reader.nothing(boxes[0], quantity)]
        if address.together and own and (len(own) > 1 or hidden):
            name = address.choice.words
            own = [joined(name[:1].upper() + name[1:], own, hidden)]
        lines[quantity.name] = own
    return lines


def served_lines(
    context: VisitorContext, choice: BoxChoice, boxes: Sequence[ShownBox], start_ms: int, end_ms: int
) -> list[ServedLine]:
    """The lines of these Boxes of a choice in a span, by the facts of then."""
    span_ns = start_ms * 1_000_000, end_ms * 1_000_000
    if choice.kind == "site":
        return lines_of_site(choice.name, boxes, context.placed_records().values(), span_ns)
    records = context.records_of_then(each.box_id for each in boxes)
    if choice.name:
        return lines_of_group(boxes, records.values(), span_ns, context.belongs(choice.kind, choice.name))
    return lines_of_boxes(boxes, records, span_ns)


def boxes_of_then(
    context: VisitorContext, choice: BoxChoice, span_ms: tuple[int, int]
) -> tuple[ShownBox, ...]:
    """The Boxes of a group that were there in a span."""
    records = context.records_of_then(choice.box_ids)
    moved = {box_id for box_id, record in records.items() if not record.is_unchanged}
    lines = served_lines(context, choice, [each for each in choice.boxes if each.box_id in moved], *span_ms)
    there = {part.box.box_id for line in lines for part in line.parts}
    return tuple(each for each in choice.boxes if each.box_id in there or each.box_id not in moved)


def _served(
    reader: PastReader, line: ServedLine, quantities: Sequence[PastQuantity]
) -> Mapping[str, PastSeries]:
    parts = [
        (replace(reader, stays=part.stays) if part.stays else reader).box(part.box, quantities)
        for part in line.parts
    ]
    return {
        each.name: after_one_another(line.words, [part[each.name] for part in parts]) for each in quantities
    }


def _of_site(
    context: VisitorContext,
    services: ViewServices,
    reader: PastReader,
    choice: BoxChoice,
    quantity: PastQuantity,
) -> PastSeries:
    """A quantity of all phases together, for those who know where each of its Boxes is and was."""
    members = _members(context, services, choice)
    site = replace(choice.boxes[0], box_id=choice.name)
    intervals = context.store.seen_intervals(choice.boxes[0].box_id)
    if not members or intervals is None:
        return reader.nothing(site, quantity)
    of_site = SiteReader(intervals, members)
    found = reader.site(site, quantity, of_site)
    return replace(found, words=f"Site {choice.name}", box_ids=(), unshown=tuple(of_site.unshown))


def _members(context: VisitorContext, services: ViewServices, choice: BoxChoice) -> list[BoxRecord]:
    """The Boxes that are or were at a site; empty for who does not know where each of them is and was."""
    records = services.registry.now().records.values()
    there = {each.box_id for each in records if choice.name in each.values_of("site")}
    members = [each for box_id, each in context.placed_records().items() if box_id in there]
    return members if len(members) == len(there) else []


def week_span_of(week: LocalSpan) -> TimeSpan:
    return TimeSpan(week.start_ms, week.end_ms, input_words(week.start_ms), input_words(week.end_ms))


def harmonics_of(
    context: VisitorContext, choice: BoxChoice, span: TimeSpan, most_lines: int
) -> Iterator[tuple[str, Harmonics, float]]:
    """Yields words, harmonics and nominal voltage of each Box of the first lines."""
    for line in served_lines(context, choice, choice.boxes, span.start_ms, span.end_ms)[:most_lines]:
        for part in line.parts:
            words = line.words if len(line.parts) == 1 else f"{line.words}: Box {part.box.box_id}"
            yield words, read_harmonics(context.store, part.box.box_id, span, part.stays), part.box.nominal_v
