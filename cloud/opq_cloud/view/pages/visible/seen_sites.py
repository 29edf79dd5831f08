"""Sites as the visitor sees them: those Boxes whose place is visible."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import HTTPException

from opq_cloud.operations.site_now import BACK_NS, IntervalReader, SiteNow, site_events, site_now
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_measure.events.polyphase import GroupEvent
from opq_proto.messages import Incident

Sites = Mapping[str, tuple[BoxRecord, ...]]


@dataclass(frozen=True, slots=True)
class SeenSite:
    """A site that the visitor sees, before it is read."""

    name: str
    records: Sequence[BoxRecord]
    """Its Boxes that the visitor sees, in the order of the phases."""
    members: Sequence[BoxRecord]
    """Also Boxes that were there before, whose events stay the site's."""
    intervals: IntervalReader
    nominal_v: float
    """Nominal voltage, V, of a Box without its own."""
    whole: bool
    """Whether the visitor sees each of its Boxes."""

    def now(self) -> SiteNow:
        return site_now(self.intervals, self.name, self.records, self.nominal_v, self.whole, self.members)

    def events(self, now_ns: int) -> tuple[GroupEvent, ...]:
        """Dips, swells and interruptions of 30 days, of all phases together, the newest first."""
        start_ns = now_ns - BACK_NS
        return site_events(self.intervals, self.name, self.members, self.nominal_v, start_ns, now_ns)


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


def seen_site(context: VisitorContext, name: str) -> SeenSite:
    """Raises HTTPException 404 where none of its Boxes is seen."""
    records = seen_sites(context).get(name, ())
    members = [each for each in context.placed_records().values() if name in each.values_of("site")]
    intervals = context.store.seen_intervals(members[0].box_id) if members else None
    if intervals is None:
        raise HTTPException(404, "No site of this name is known.")
    whole = len(records) == len(context.sites().get(name, ()))
    return SeenSite(name, records, members, intervals, context.nominal_v, whole)


def sites_then(context: VisitorContext, incidents: Sequence[Incident]) -> list[list[str]]:
    """The names of the sites at which the Boxes of each incident were at its start."""
    records = context.placed_records({box_id for each in incidents for box_id in each.box_ids})
    return [
        sorted(
            {
                site
                for box_id in each.box_ids
                if box_id in records and (site := records[box_id].at(each.start_ns).site)
            }
        )
        for each in incidents
    ]


def sites_of_boxes(sites: Sites, box_ids: Iterable[str]) -> list[str]:
    """The names of those sites that have one of these Boxes."""
    wanted = set(box_ids)
    return [name for name, boxes in sites.items() if any(each.box_id in wanted for each in boxes)]
