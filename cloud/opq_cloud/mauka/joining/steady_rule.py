"""Which steady states are one state of the grid: the rule, and the scan that applies it. Pure.

A Box's waveforms show parts of a state that lasts between them. Parts of one family are read in the order of
time. Each one

    goes on with the part before it at its Box, of the same line, if that was still there
    (`sightings.goes_on`), and is in its incident; or it is the state's beginning at this Box, and joins
    the incident of its grid whose beginning is nearest, at most what the detection can resolve and both
    uncertainties away (2 s at most), or begins a new one.

An incident's beginning is that of its first Box, so there are no chains from Box to Box; a Box has one state
in it; and a later part never changes the result of earlier ones, so a scan may begin anywhere. A part that a
person placed stays in its incident, parts that go on with it follow, and its beginning counts as the
incident's.
"""

from collections.abc import Callable, Iterator

from opq_cloud.mauka.joining.clusters import own_finding
from opq_cloud.mauka.joining.onset_rule import LONGEST_NS, OnsetGroup, apart_ns
from opq_cloud.mauka.measuring.lines import same_line
from opq_cloud.mauka.measuring.sightings import LATE_STEADY_NS, UNSEEN_NS, goes_on
from opq_cloud.store.incidents.join_plan import KnownFinding, onset
from opq_proto.messages import Finding

FIRST_SHOWN_NS = 2 * LONGEST_NS + UNSEEN_NS
"""What begins this long before a part, or lasted until then, may decide where the part belongs."""


def one_beginning(first: Finding, later: Finding) -> bool:
    """Returns True if a state of one family began at two Boxes of one grid at the same time.

    A beginning is known to a window or two of 10/12 cycles. Where a waveform shows none, because the state
    was there before, it may have begun 2 s earlier, if the other Box's was there until then.
    """
    apart = apart_ns(first, later)
    if apart is None or not same_line(first, later):
        return False
    resolved_ns = LATE_STEADY_NS if later.onset_seen else LONGEST_NS
    begun = later.start_ns - first.start_ns <= min(LONGEST_NS, resolved_ns + apart)
    return begun and later.start_ns - first.end_ns <= min(LONGEST_NS, LATE_STEADY_NS + apart)


class StateScan:
    """Accepts the parts of one family in the order of `onset_key`.

    Attributes:
        groups: incidents, in the order in which they began or were first met.
        kinds: by group, the classes by which its parts are stored or were placed.
    """

    def __init__(self, grid_of: Callable[[str, int], str]) -> None:
        self.groups: list[OnsetGroup] = []
        self.kinds: dict[OnsetGroup, set[str]] = {}
        self._grid_of = grid_of
        self._by_number: dict[int, OnsetGroup] = {}
        self._anchors: list[tuple[Finding, OnsetGroup]] = []
        """Beginnings that other Boxes may still join."""
        self._last: dict[str, list[tuple[Finding, OnsetGroup]]] = {}
        """By Box, the last part of each line."""
        self._recent: dict[str, list[tuple[int, OnsetGroup]]] = {}
        """By Box, when its parts of the last 2 s began, and their incidents."""

    def keep(self, part: KnownFinding, leads: bool | None = None) -> OnsetGroup:
        """Leaves a part in its stored incident: it is older than the change, or was placed by hand.

        Args:
            leads: whether it is the incident's beginning; None: it is if it is the first that begins there.
        """
        group = self._by_number.get(part.incident_id)
        own = own_finding(part)
        if group is None:
            group = self._begin(own, part.incident_id)
        if leads is None:
            leads = part.by_hand or (not group.anchors and self._before(own) is None)
        return self._add(group, part, own, leads)

    def place(self, part: KnownFinding) -> OnsetGroup:
        """Places a part by the rule."""
        own = own_finding(part)
        group = self._before(own) or self._nearest(own)
        if group is not None:
            return self._add(group, part, own, leads=False)
        return self._add(self._begin(own, None), part, own, leads=True)

    def _before(self, own: Finding) -> OnsetGroup | None:
        """Returns the incident of the part that this one goes on with."""
        for earlier, group in reversed(self._last.get(own.box_id, ())):
            if same_line(earlier, own):
                return group if goes_on(earlier, own) else None
        return None

    def _nearest(self, own: Finding) -> OnsetGroup | None:
        self._anchors = [each for each in self._anchors if own.start_ns - each[0].start_ns <= LONGEST_NS]
        found: tuple[int, OnsetGroup] | None = None
        for first, group in self._near(own):
            gap_ns = own.start_ns - first.start_ns
            if found is None or gap_ns < found[0]:
                found = gap_ns, group
        return None if found is None else found[1]

    def _near(self, own: Finding) -> Iterator[tuple[Finding, OnsetGroup]]:
        grid = self._grid_of(own.box_id, own.start_ns)
        recent = self._recent.get(own.box_id, ())
        has = [group for start_ns, group in recent if own.start_ns - start_ns <= LONGEST_NS]
        for first, group in self._anchors:
            if (
                self._grid_of(first.box_id, first.start_ns) == grid
                and group not in has
                and one_beginning(first, own)
            ):
                yield first, group

    def _begin(self, own: Finding, incident_id: int | None) -> OnsetGroup:
        group = OnsetGroup(self._grid_of(own.box_id, own.start_ns), incident_id)
        self.groups.append(group)
        if incident_id is not None:
            self._by_number[incident_id] = group
        return group

    def _add(self, group: OnsetGroup, part: KnownFinding, own: Finding, leads: bool) -> OnsetGroup:
        group.add(onset(part), leads)
        if leads:
            self._anchors.append((own, group))
        self.kinds.setdefault(group, set()).add(part.finding.kind)
        others = [each for each in self._last.get(own.box_id, ()) if not same_line(each[0], own)]
        self._last[own.box_id] = [*others, (own, group)]
        recent = self._recent.get(own.box_id, ())
        recent = [each for each in recent if own.start_ns - each[0] <= LONGEST_NS]
        self._recent[own.box_id] = [*recent, (own.start_ns, group)]
        return group
