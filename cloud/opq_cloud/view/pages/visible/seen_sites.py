"""Sites as the visitor sees them: those Boxes whose place is visible."""

from collections.abc import Iterable

from fastapi import HTTPException

from opq_cloud.actions.site_now import SiteNow, site_now, sites_of
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.view.pages.visible.visitor_context import VisitorContext


def seen_sites(context: VisitorContext) -> dict[str, tuple[BoxRecord, ...]]:
    """Site -> its Boxes by their phases; empty where no site is stated."""
    return sites_of(each for each, seen in context.site_records().items() if seen)


def seen_site(context: VisitorContext, name: str) -> SiteNow:
    """Raises HTTPException 404 where none of its Boxes is seen."""
    records = seen_sites(context).get(name, ())
    intervals = context.store.seen_intervals(records[0].box_id) if records else None
    if intervals is None:
        raise HTTPException(404, "No site of this name is known.")
    whole = len(records) == len(sites_of(context.site_records())[name])
    return site_now(intervals, name, records, context.nominal_v, context.now_ns(), whole)


def sites_of_boxes(context: VisitorContext, box_ids: Iterable[str]) -> list[str]:
    """The sites of these Boxes."""
    wanted = set(box_ids)
    return [site for site, boxes in seen_sites(context).items() if wanted & {each.box_id for each in boxes}]
