"""Sites as the visitor sees them: those Boxes whose place is visible."""

from collections.abc import Iterable, Mapping

from fastapi import HTTPException

from opq_cloud.actions.site_now import SiteNow, site_now
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.view.pages.visible.visitor_context import VisitorContext

Sites = Mapping[str, tuple[BoxRecord, ...]]


def seen_sites(context: VisitorContext) -> Sites:
    """Site -> its Boxes by their phases; empty where no site is stated."""
    sites, visitor = context.sites(), context.visitor
    if visitor.everything:
        return sites
    seen = {
        name: tuple(each for each in boxes if visitor.sees_place(each.box_id))
        for name, boxes in sites.items()
    }
    return {name: boxes for name, boxes in seen.items() if boxes}


def seen_site(context: VisitorContext, name: str) -> SiteNow:
    """Raises HTTPException 404 where none of its Boxes is seen."""
    records = seen_sites(context).get(name, ())
    members = [each for each in context.placed_records().values() if name in each.values_of("site")]
    intervals = context.store.seen_intervals(members[0].box_id) if members else None
    if intervals is None:
        raise HTTPException(404, "No site of this name is known.")
    whole = len(records) == len(context.sites().get(name, ()))
    return site_now(intervals, name, records, context.nominal_v, context.now_ns(), whole, members)


def sites_then(context: VisitorContext, box_ids: Iterable[str], t_ns: int) -> list[str]:
    """The names of the sites at which these Boxes were at a moment."""
    records = context.placed_records()
    found = (records[box_id].at(t_ns).site for box_id in box_ids if box_id in records)
    return sorted({site for site in found if site})


def sites_of_boxes(sites: Sites, box_ids: Iterable[str]) -> list[str]:
    """The names of those sites that have one of these Boxes."""
    wanted = set(box_ids)
    return [name for name, boxes in sites.items() if any(each.box_id in wanted for each in boxes)]
