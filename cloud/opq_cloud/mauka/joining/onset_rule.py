"""Which onsets are one disturbance of the grid: the rule, and the scan that applies it. Pure.

Findings with a sharp onset are read in the order of time. Each one joins, of the incidents so far,

    of its own Box   one that began at this Box at most 1 s earlier (a compound disturbance), unless another
                     incident began elsewhere at the same moment, which is a disturbance by itself, or the
                     Box's clock was set between the two,
    of its grid      else the nearest whose onset is at most 200 ms and both uncertainties away (2 s at most;
                     a second more between two frequency deviations),

or begins a new one. An incident's onset is that of its first finding, so there are no chains; and a later
finding never changes the result of earlier ones, so a scan may begin anywhere. Uncertainties: Boxes
stamped by one clock are at most 20 ms uncertain to each other, and a finding with an unknown uncertainty
joins nothing else. Where a person has assigned a finding to an incident, it stays there, and its onset
counts as the incident's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from opq_cloud.mauka.measuring.sample_axis import is_other_axis
from opq_cloud.mauka.measuring.sightings import SAME_CLOCK_LIMIT_NS
from opq_cloud.store.incidents.box_events import is_steady
from opq_cloud.store.incidents.join_plan import FindingOnset
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Finding

ONE_DISTURBANCE_NS = 200_000_000
"""Largest distance of onsets of one disturbance at several Boxes, in addition to their uncertainties."""
LONGEST_NS = 2_000_000_000
"""Largest distance of onsets of one disturbance, including their uncertainties."""
SAME_MOMENT_NS = 20_000_000
"""Onsets at two Boxes this near are one moment, where the clocks are at least as good: a cycle."""
COMPOUND_NS = 1_000_000_000
"""An onset within this time at one Box is part of the disturbance that began there."""
FOLLOWS_NS = 60_000_000_000
"""An incident within this time at one Box names the earlier one as its predecessor."""
FREQUENCY_NS = 1_000_000_000
"""Between two frequency deviations in addition: the frequency passes its limit slowly, is known for windows
of a fifth of a second, and a phase jump beside it hides some of them."""
OUTAGE_NS = 1_000_000_000
"""An outage begins within the Measurement that never came; no clock shows when."""
REACH_NS = LONGEST_NS + COMPOUND_NS
"""Longest time between the first and the last onset of an incident."""
SETTLED_NS = 2 * REACH_NS
"""After this time without a change, later places do not change."""
READ_NS = 10_000_000_000
"""Findings of this much more time are read where what was read is not settled."""
AROUND_NS = FOLLOWS_NS + COMPOUND_NS
"""A stored finding of the same Box may matter if it is at most this far from a new one."""

OnsetKey = tuple[int, str, str, int, int, int, int]


def onset_key(one: FindingOnset | Finding) -> OnsetKey:
    """Returns the key of the scan's order; it does not depend on the numbers of findings."""
    axis = one.samples_began_ns or 0, one.start_id or 0
    return one.start_ns, one.box_id, one.kind, one.end_ns, one.uncertainty_ns, *axis


def apart_ns(one: FindingOnset | Finding, other: FindingOnset | Finding) -> int | None:
    """Returns the largest error between two Boxes' time stamps; None where it is unknown."""
    unknown = UNKNOWN_UNCERTAINTY_NS in (one.uncertainty_ns, other.uncertainty_ns)
    both = one.uncertainty_ns + other.uncertainty_ns
    if one.clock_id is not None and one.clock_id == other.clock_id:
        coarse_ns = OUTAGE_NS if "outage" in (one.kind, other.kind) else 0
        return min(both, SAME_CLOCK_LIMIT_NS + coarse_ns)
    return None if unknown else both


def one_onset(first: FindingOnset, later: FindingOnset) -> bool:
    """Returns True if the onsets at two Boxes of one grid are that of one disturbance."""
    apart = apart_ns(first, later)
    slow_ns = FREQUENCY_NS if first.kind == later.kind == "frequency_deviation" else 0
    gap_ns = later.start_ns - first.start_ns
    return apart is not None and gap_ns <= min(LONGEST_NS, ONE_DISTURBANCE_NS + slow_ns + apart)


def follows(earlier: FindingOnset, later: FindingOnset) -> bool:
    """Returns True if, at one Box, `later` begins within 60 s of the earlier one's onset or end."""
    if is_steady(earlier.kind) or onset_key(earlier) >= onset_key(later):
        return False
    since_onset, since_end = later.start_ns - earlier.start_ns, later.start_ns - earlier.end_ns
    return since_onset <= FOLLOWS_NS or 0 <= since_end <= FOLLOWS_NS


def same_moment(first: FindingOnset, later: FindingOnset) -> bool:
    """Returns True if the clocks of two Boxes show that both onsets are within a cycle of each other."""
    apart = apart_ns(first, later)
    return apart is not None and max(apart, later.start_ns - first.start_ns) <= SAME_MOMENT_NS


def last_change_ns(earlier: FindingOnset, later: FindingOnset) -> int:
    """Returns when a disturbance last changed before a later onset: it ended by then, or it began."""
    ended = earlier.end_ns <= later.start_ns + SAME_MOMENT_NS
    return min(earlier.end_ns, later.start_ns) if ended else earlier.start_ns


@dataclass(slots=True, eq=False)
class OnsetGroup:
    """An incident while onsets are scanned."""

    grid: str
    incident_id: int | None
    """None: it has no number yet."""
    anchors: list[FindingOnset] = field(default_factory=list)
    """Its first finding; for an incident made by hand, each finding that was put there by hand."""
    first: dict[str, FindingOnset] = field(default_factory=dict)
    """By Box: the first onset there."""
    members: list[FindingOnset] = field(default_factory=list)

    @property
    def leader(self) -> FindingOnset:
        return self.anchors[0]

    def add(self, one: FindingOnset, leads: bool) -> None:
        if leads:
            self.anchors.append(one)
        self.first.setdefault(one.box_id, one)
        self.members.append(one)


class OnsetScan:
    """Accepts onsets in the order of `onset_key`.

    Attributes:
        groups: all of them, in the order in which they began.
    """

    def __init__(self, grid_of: Callable[[str, int], str]) -> None:
        self.groups: list[OnsetGroup] = []
        self._grid_of = grid_of
        self._by_number: dict[int, OnsetGroup] = {}
        self._of_box: dict[str, list[OnsetGroup]] = {}
        self._open: list[OnsetGroup] = []
        """Groups that onsets of other Boxes may still join."""

    def add_fixed(self, one: FindingOnset) -> OnsetGroup:
        """Leaves an onset in its stored incident: it is older than the change, or was placed by hand."""
        group = self._by_number.get(one.incident_id)
        if group is None:
            group = self._begin(one, one.incident_id)
        leads = one.by_hand or (not group.members if one.leads is None else one.leads)
        return self._add(group, one, leads)

    def place(self, one: FindingOnset) -> OnsetGroup:
        """Places an onset by the rule."""
        own = self._own(one)
        if own is None:
            group = self._nearest(one, one_onset)
        elif one.start_ns - own.first[one.box_id].start_ns <= SAME_MOMENT_NS:
            group = own
        else:
            group = self._nearest(one, same_moment) or own
        if group is not None:
            return self._add(group, one, leads=False)
        return self._add(self._begin(one, None), one, leads=True)

    def _own(self, one: FindingOnset) -> OnsetGroup | None:
        for group in reversed(self._of_box.get(one.box_id, ())):
            first = group.first[one.box_id]
            if one.start_ns - first.start_ns <= COMPOUND_NS and not is_other_axis(first, one):
                return group
        return None

    def _nearest(
        self, one: FindingOnset, is_near: Callable[[FindingOnset, FindingOnset], bool]
    ) -> OnsetGroup | None:
        self._open = [each for each in self._open if one.start_ns - each.anchors[-1].start_ns <= LONGEST_NS]
        grid = self._grid_of(one.box_id, one.start_ns)
        found: tuple[int, OnsetGroup] | None = None
        for group in self._open:
            if group.grid != grid or one.box_id in group.first:
                continue
            near = [one.start_ns - first.start_ns for first in group.anchors if is_near(first, one)]
            if near and (found is None or min(near) < found[0]):
                found = min(near), group
        return None if found is None else found[1]

    def _begin(self, one: FindingOnset, incident_id: int | None) -> OnsetGroup:
        group = OnsetGroup(self._grid_of(one.box_id, one.start_ns), incident_id)
        self.groups.append(group)
        if incident_id is not None:
            self._by_number[incident_id] = group
        return group

    def _add(self, group: OnsetGroup, one: FindingOnset, leads: bool) -> OnsetGroup:
        if one.box_id not in group.first:
            own = [
                each
                for each in self._of_box.get(one.box_id, ())
                if each.first[one.box_id].start_ns >= one.start_ns - REACH_NS
            ]
            self._of_box[one.box_id] = [*own, group]
        group.add(one, leads)
        may_be_joined = one.uncertainty_ns != UNKNOWN_UNCERTAINTY_NS or one.clock_id is not None
        if leads and may_be_joined and group not in self._open:
            self._open.append(group)
        return group
