"""Places findings with a sharp onset among the stored ones, by the rule.

Usually a new finding comes after all known ones, or joins an incident that began earlier: then only the
first findings of incidents nearby and those of its own Boxes are read. Where it may change where others
belong, all onsets from there on are placed again, until the stored places are right again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from opq_cloud.mauka.joining.onset_rule import (
    COMPOUND_NS,
    LONGEST_NS,
    REACH_NS,
    READ_NS,
    SETTLED_NS,
    OnsetGroup,
    OnsetScan,
    onset_key,
)
from opq_cloud.mauka.measuring.sample_axis import is_other_axis
from opq_cloud.store.incidents.box_events import is_steady
from opq_cloud.store.incidents.join_plan import FindingOnset
from opq_cloud.store.store import JoinStore


@dataclass(frozen=True, slots=True)
class PlacedOnset:
    """A finding, and the incident that it belongs to."""

    one: FindingOnset
    group: OnsetGroup
    leads: bool


@dataclass(slots=True)
class OnsetPlaces:
    """The places of the given findings, and of stored findings that now belong elsewhere."""

    placed_again: list[PlacedOnset] = field(default_factory=list)
    moved: list[PlacedOnset] = field(default_factory=list)


def place_onsets(
    reader: JoinStore,
    sharp: Iterable[FindingOnset],
    before: Iterable[FindingOnset],
    own: Mapping[str, Iterable[FindingOnset]],
    grid_of: Callable[[str, int], str],
) -> OnsetPlaces:
    """Places each of `sharp`, new ones and changed ones.

    Args:
        before: the stored versions of these, and findings that they have absorbed.
        own: by Box of `sharp`, the stored findings that begin near them.
    """
    placed_again, known = sorted(sharp, key=onset_key), list(before)
    if not placed_again and not known:
        return OnsetPlaces()
    return (None if known else _join_new(reader, placed_again, own, grid_of)) or _place_again(
        reader, placed_again, known, grid_of
    )


def _join_new(
    reader: JoinStore,
    sharp: list[FindingOnset],
    own: Mapping[str, Iterable[FindingOnset]],
    grid_of: Callable[[str, int], str],
) -> OnsetPlaces | None:
    """Joins findings that change nothing else; None: they may change others."""
    first_ns, last_ns = sharp[0].start_ns, sharp[-1].start_ns
    leaders = reader.onsets(first_ns - REACH_NS, last_ns + LONGEST_NS, leading=True)
    near = [each for box_id in {one.box_id for one in sharp} for each in own.get(box_id, ())]
    near = [each for each in near if first_ns - SETTLED_NS <= each.start_ns <= last_ns + REACH_NS]
    every = {one.finding_id: one for one in (*leaders, *near) if not is_steady(one.kind)}
    if any(one.leads is None for one in every.values()):
        return None
    known = sorted(every.values(), key=onset_key)
    scan, places, at = OnsetScan(grid_of), OnsetPlaces(), 0
    for one in sharp:
        while at < len(known) and onset_key(known[at]) < onset_key(one):
            scan.add_fixed(known[at])
            at += 1
        group = scan.place(one)
        leads = group.anchors[-1] is one
        if _changes_others(reader, one, group, leads, known[at:]):
            return None
        places.placed_again.append(PlacedOnset(one, group, leads))
    return places


def _changes_others(
    reader: JoinStore, one: FindingOnset, group: OnsetGroup, leads: bool, later: Sequence[FindingOnset]
) -> bool:
    """Returns True if a stored finding that begins later may belong elsewhere because of this one."""
    soon = [each for each in later if each.box_id == one.box_id and each.start_ns - one.start_ns <= REACH_NS]
    if any(
        each.incident_id != group.incident_id
        or each.start_ns - one.start_ns > COMPOUND_NS
        or is_other_axis(group.first[one.box_id], each)
        for each in soon
    ):
        return True
    if not leads:
        return False
    near = reader.onsets(one.start_ns, one.start_ns + LONGEST_NS)
    return any(onset_key(each) > onset_key(one) and not is_steady(each.kind) for each in near)


def _place_again(
    reader: JoinStore,
    sharp: list[FindingOnset],
    before: list[FindingOnset],
    grid_of: Callable[[str, int], str],
) -> OnsetPlaces:
    """Places all onsets from the first that changes on, until the stored places are right again."""
    changing = {one.finding_id for one in (*sharp, *before)}
    every = sorted((*sharp, *before), key=onset_key)
    first, last_ns = every[0], every[-1].start_ns
    until_ns = last_ns + SETTLED_NS
    while True:
        stored = reader.onsets(first.start_ns - SETTLED_NS, until_ns)
        rows = [one for one in stored if one.finding_id not in changing and not is_steady(one.kind)]
        scan = OnsetScan(grid_of)
        placed: list[tuple[FindingOnset, OnsetGroup]] = []
        for one in sorted((*rows, *sharp), key=onset_key):
            if onset_key(one) < onset_key(first):
                scan.add_fixed(one)
            else:
                placed.append((one, scan.add_fixed(one) if one.by_hand else scan.place(one)))
        _give_numbers(scan.groups)
        placed_again, moved = [], []
        for one, group in placed:
            each = PlacedOnset(one, group, any(anchor is one for anchor in group.anchors))
            if one.finding_id in changing:
                placed_again.append(each)
            elif (group.incident_id, each.leads) != (one.incident_id, one.leads):
                moved.append(each)
        settled_ns = max([last_ns, *(each.one.start_ns for each in moved)]) + SETTLED_NS
        if settled_ns <= until_ns:
            return OnsetPlaces(placed_again, moved)
        until_ns = settled_ns + READ_NS


def _give_numbers(groups: Sequence[OnsetGroup]) -> None:
    """Numbers the incidents; each keeps its number where it can: its first finding's, else its lowest."""
    taken = {group.incident_id for group in groups}
    for group in groups:
        if group.incident_id is not None:
            continue  # the first finding of a kept one may lie before the span that was read
        own = group.leader
        if own.leads is not False and own.incident_id > 0 and own.incident_id not in taken:
            group.incident_id = own.incident_id
            taken.add(own.incident_id)
    for group in groups:
        if group.incident_id is None:
            free = {one.incident_id for one in group.members if one.incident_id > 0} - taken
            group.incident_id = min(free, default=None)
            taken.add(group.incident_id)
