"""Decides which parts of a steady state are one incident: it lasts between the waveforms that show it. Pure.

A part continues an earlier one of the same Box and class where it was there already at the beginning of its
waveform, and the earlier one was still there, or paused, at the end of its own shortly before
(`sightings.goes_on`). A part that was placed by hand stays in its incident, and those that continue it
follow. The result depends on the set of parts alone, except for the numbers.
"""

from collections.abc import Collection, Iterable

from opq_cloud.mauka.joining.onset_rule import OnsetGroup, onset_key
from opq_cloud.mauka.measuring.sightings import goes_on
from opq_cloud.store.incidents.join_plan import KnownFinding, onset


def place_steady(
    parts: Iterable[KnownFinding], others: Collection[int]
) -> list[tuple[KnownFinding, OnsetGroup]]:
    """Places all parts of the incidents that may change, of one Box and class, in the order of time.

    Args:
        parts: those that have no incident yet are in incident 0.
        others: incidents that hold other findings too; only parts placed by hand keep their numbers.
    """
    placed: list[tuple[KnownFinding, OnsetGroup]] = []
    by_hand: dict[int, OnsetGroup] = {}
    for one in sorted(parts, key=lambda one: onset_key(one.finding)):
        if one.by_hand:
            group = by_hand.setdefault(one.incident_id, OnsetGroup("", one.incident_id))
        elif placed and goes_on(placed[-1][0].finding, one.finding):
            group = placed[-1][1]
        else:
            group = OnsetGroup("", None)
        group.add(onset(one), leads=not group.anchors)
        placed.append((one, group))
    _give_numbers([group for _, group in placed], {0, *others, *by_hand})
    return placed


def _give_numbers(groups: Iterable[OnsetGroup], taken: set[int]) -> None:
    """Numbers the incidents; each keeps its number where it can: its first part's, else its lowest."""
    fresh = [group for group in dict.fromkeys(groups) if group.incident_id is None]
    for first_alone in (True, False):
        for group in fresh:
            numbers = {one.incident_id for one in (group.members[:1] if first_alone else group.members)}
            if group.incident_id is None and numbers - taken:
                group.incident_id = min(numbers - taken)
                taken.add(group.incident_id)
