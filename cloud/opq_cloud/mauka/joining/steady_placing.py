"""Places parts of steady states among the stored ones, by the rule (`steady_rule.py`).

Usually a new part comes after all known ones of its Box, and goes on with one or joins the beginning of
another Box: then only the beginnings nearby are read. Where it may change where others belong, all parts from
there on are placed again, until the stored places are right again. Lines of an incident of which one waveform
shows the keying are all telegrams; each part keeps what its own waveforms show. The result depends on the set
of parts alone, except for the numbers.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from opq_cloud.mauka.joining.clusters import own_finding
from opq_cloud.mauka.joining.onset_rule import (
    LONGEST_NS,
    READ_NS,
    SETTLED_NS,
    OnsetGroup,
    OnsetKey,
    onset_key,
)
from opq_cloud.mauka.joining.steady_rule import FIRST_SHOWN_NS, StateScan
from opq_cloud.mauka.measuring.lines import LINE_KIND, LINES, TELEGRAM_KIND, as_telegram, same_line
from opq_cloud.mauka.measuring.sightings import UNSEEN_NS, family
from opq_cloud.store.incidents.join_plan import FindingOnset, KnownFinding
from opq_cloud.store.store import JoinStore
from opq_proto.messages import Finding


@dataclass(slots=True)
class StatePlaces:
    """The incidents of the given parts, of stored parts that now belong elsewhere, and the names of lines."""

    placed: list[tuple[KnownFinding, OnsetGroup]] = field(default_factory=list)
    moved: list[tuple[KnownFinding, OnsetGroup]] = field(default_factory=list)
    named: list[tuple[KnownFinding, Finding]] = field(default_factory=list)
    """Given and stored parts, with the finding that each one is from now on."""
    added: set[int] = field(default_factory=set)
    """Numbers of new parts whose incident's facts follow from those before and their own: the first of a Box,
    and one that is open and ends last there."""


class StatePlacing:
    """Places the parts of one family in one plan."""

    def __init__(
        self,
        reader: JoinStore,
        members_of: Callable[[int], Mapping[int, KnownFinding]],
        grid_of: Callable[[str, int], str],
    ) -> None:
        self._reader, self._members_of, self._grid_of = reader, members_of, grid_of
        self._leaving: set[int] = set()
        self._family = ""

    def place(
        self,
        parts: Sequence[KnownFinding],
        before: Sequence[KnownFinding],
        near: Iterable[KnownFinding],
        taken: Collection[int],
    ) -> StatePlaces:
        """Places parts, new ones and changed ones.

        Args:
            before: the stored versions of these, and parts that they have absorbed or that are gone.
            near: the stored findings of their Boxes that begin near them.
            taken: numbers of incidents that another family has in this plan.
        """
        # a stored part may be of this family only now: it is not one of the family's parts before
        self._leaving = {one.finding_id for one in (*before, *parts) if one.finding_id > 0}
        self._family = family(next(one.finding.kind for one in (*parts, *before)))
        placed = sorted(parts, key=_key)
        joined = None if self._leaving else self._join_new(placed, [one for one in near if self._is_of(one)])
        return joined or self._place_again(placed, before, taken)

    def _is_of(self, one: KnownFinding) -> bool:
        return family(one.finding.kind) == self._family and one.finding_id not in self._leaving

    # What changes nothing else

    def _join_new(self, parts: list[KnownFinding], near: list[KnownFinding]) -> StatePlaces | None:
        """Joins parts that change nothing else; None: they may change others."""
        first_ns, last_ns = parts[0].finding.start_ns, parts[-1].finding.start_ns
        rows = self._rows(first_ns - LONGEST_NS, last_ns + LONGEST_NS)
        leading = self._leading(rows)
        if leading is None:
            return None
        known = sorted({one.finding_id: one for one in (*leading.values(), *near)}.values(), key=_key)
        scan, places, at = StateScan(self._grid_of), StatePlaces(), 0
        for one in parts:
            while at < len(known) and _key(known[at]) < _key(one):
                scan.keep(known[at], leads=known[at].finding_id in leading)
                at += 1
            group = scan.place(one)
            if self._changes_others(one, group, rows, known[at:]):
                return None
            places.placed.append((one, group))
            ends_ns = [each.end_ns for each in group.members if each.box_id == one.finding.box_id]
            is_last = one.finding.end_ns == max(ends_ns)
            if len(ends_ns) == 1 or (is_last and not one.finding.closed):
                places.added.add(one.finding_id)
        for group, kinds in scan.kinds.items():
            if kinds >= LINES:
                if any(one.finding_id > 0 and one.kind == LINE_KIND for one in group.members):
                    return None  # it names others
                own = [one for one, its in places.placed if its is group]
                places.named += [(one, as_telegram(own_finding(one))) for one in own]
        return places

    def _changes_others(
        self,
        one: KnownFinding,
        group: OnsetGroup,
        rows: Iterable[FindingOnset],
        later: Iterable[KnownFinding],
    ) -> bool:
        """Returns True if a stored part that begins later may belong elsewhere because of this one."""
        if any(each.finding.box_id == one.finding.box_id for each in later):
            return True
        if all(each.finding_id != one.finding_id for each in group.anchors):
            return False
        start_ns = one.finding.start_ns
        return any(start_ns <= each.start_ns <= start_ns + LONGEST_NS for each in rows)

    def _leading(self, rows: Iterable[FindingOnset]) -> dict[int, KnownFinding] | None:
        """Returns the beginnings of incidents among these; None: one is not known, or is by hand."""
        first: dict[int, FindingOnset] = {}
        for one in rows:
            if one.by_hand:
                return None
            known = first.get(one.incident_id)
            if known is None or (one.start_ns, one.box_id) < (known.start_ns, known.box_id):
                first[one.incident_id] = one
        for number, one in list(first.items()):
            facts = self._reader.incident_facts(number)
            if facts is None:
                return None
            if facts.start_ns != one.start_ns:
                del first[number]  # it began earlier
        if not first:
            return {}
        boxes, ids = {one.box_id for one in first.values()}, {one.finding_id for one in first.values()}
        starts_ns = [one.start_ns for one in first.values()]
        found = self._reader.findings_of_boxes(boxes, min(starts_ns), max(starts_ns))
        return {one.finding_id: one for one in found if one.finding_id in ids}

    def _rows(self, first_ns: int, last_ns: int) -> list[FindingOnset]:
        rows = self._reader.onsets(first_ns, last_ns)
        return [one for one in rows if family(one.kind) == self._family]

    # What may change others

    def _place_again(
        self, parts: list[KnownFinding], before: Sequence[KnownFinding], taken: Collection[int]
    ) -> StatePlaces:
        """Places all parts from the first that changes on, until the stored places are right again."""
        changing = [*parts, *before]
        first = min(map(_key, changing))
        until_ns = max(map(_settled_ns, changing))
        boxes = {one.finding.box_id for one in changing}
        fresh = {one.finding_id for one in parts}
        while True:
            stored = self._stored(first[0], until_ns, boxes)
            scan, places = StateScan(self._grid_of), StatePlaces()
            for one in sorted((*stored, *parts), key=_key):
                if _key(one) < first:
                    scan.keep(one)
                    continue
                group = scan.keep(one) if one.by_hand else scan.place(one)
                (places.placed if one.finding_id in fresh else places.moved).append((one, group))
            self._give_numbers(scan.groups, first, taken)
            places.moved = [each for each in places.moved if each[1].incident_id != each[0].incident_id]
            settled_ns = max([until_ns, *(_settled_ns(one) for one, _ in places.moved)])
            if settled_ns <= until_ns:
                places.named = self._named(places, before)
                return places
            until_ns = settled_ns + READ_NS

    def _stored(self, first_ns: int, until_ns: int, boxes: set[str]) -> list[KnownFinding]:
        every = boxes | {one.box_id for one in self._rows(first_ns - 2 * LONGEST_NS, until_ns)}
        found = self._reader.findings_of_boxes(every, first_ns - FIRST_SHOWN_NS, until_ns)
        return [one for one in found if self._is_of(one)]

    def _give_numbers(self, groups: Sequence[OnsetGroup], first: OnsetKey, taken: Collection[int]) -> None:
        """Numbers the incidents; each keeps its number where it can: its first part's, else its lowest."""
        used = {*taken, *(group.incident_id for group in groups if group.incident_id is not None)}
        fresh = [group for group in groups if group.incident_id is None]
        for first_alone in (True, False):
            for group in fresh:
                members = group.members[:1] if first_alone else group.members
                for number in sorted({one.incident_id for one in members if one.incident_id > 0} - used):
                    if group.incident_id is None and not self._holds_others(number, first):
                        group.incident_id = number
                        used.add(number)

    def _holds_others(self, number: int, first: OnsetKey) -> bool:
        """Returns True if a stored incident keeps findings that are not placed again."""
        return any(
            one.finding_id not in self._leaving and (one.by_hand or not self._is_of(one) or _key(one) < first)
            for one in self._members_of(number).values()
        )

    # Names of lines

    def _named(
        self, places: StatePlaces, before: Iterable[KnownFinding]
    ) -> list[tuple[KnownFinding, Finding]]:
        """Returns the parts of all changed incidents, and the finding that each one is by its neighbours."""
        if family(LINE_KIND) != self._family:
            return []
        going = {one.finding_id for one, _ in (*places.placed, *places.moved)} | self._leaving
        members: dict[OnsetGroup | int, list[KnownFinding]] = {}
        for one, group in (*places.placed, *places.moved):
            members.setdefault(group if group.incident_id is None else group.incident_id, []).append(one)
        left = {one.incident_id for one in (*before, *(one for one, _ in places.moved))}
        for number in {*left, *(each for each in members if isinstance(each, int))}:
            every = self._members_of(number).values()
            stay = [one for one in every if one.finding_id not in going and self._is_of(one)]
            members.setdefault(number, []).extend(stay)
        return [pair for each in members.values() for pair in _by_neighbours(each)]


def _by_neighbours(parts: Iterable[KnownFinding]) -> list[tuple[KnownFinding, Finding]]:
    """Names the lines of one incident: where one is keyed, all of its frequency are."""
    own = [(one, own_finding(one)) for one in parts]
    keyed = [finding for _, finding in own if finding.kind == TELEGRAM_KIND]
    return [
        (one, as_telegram(finding) if any(same_line(finding, each) for each in keyed) else finding)
        for one, finding in own
    ]


def _key(one: KnownFinding) -> OnsetKey:
    return onset_key(own_finding(one))


def _settled_ns(one: KnownFinding) -> int:
    """Returns the time from which on nothing changes because of a part."""
    return max(one.finding.start_ns + SETTLED_NS, one.finding.end_ns + UNSEEN_NS)
