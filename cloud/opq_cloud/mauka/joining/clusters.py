"""One disturbance of one Box: the stored and new findings of it, and the finding that they become. Pure.

Findings of one Box and one family whose spans meet are a cluster; `sightings.py` decides which of them make
the finding that it becomes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from opq_cloud.mauka.joining.onset_rule import onset_key
from opq_cloud.mauka.measuring.lines import as_telegram, same_line
from opq_cloud.mauka.measuring.sample_axis import is_other_axis
from opq_cloud.mauka.measuring.sightings import SAME_CLOCK_LIMIT_NS, family, kept, reach, whole
from opq_cloud.store.incidents.join_plan import KnownFinding
from opq_proto.messages import Finding


def gap_ns(one: Finding, other: Finding) -> int:
    """Returns the time between two spans; 0 or less when they touch or overlap."""
    return max(one.start_ns, other.start_ns) - min(one.end_ns, other.end_ns)


def same(one: Finding, other: Finding) -> bool:
    """Returns True if two findings are the same disturbance at the same Box."""
    if one.box_id != other.box_id or family(one.kind) != family(other.kind):
        return False
    if is_other_axis(one, other) or not same_line(one, other):
        return False
    return gap_ns(one, other) <= min(one.uncertainty_ns + other.uncertainty_ns, SAME_CLOCK_LIMIT_NS)


@dataclass(slots=True, eq=False)
class Cluster:
    """One disturbance of one Box: its stored findings and its new ones (`is_put`)."""

    known: tuple[KnownFinding, ...]
    sightings: tuple[Finding, ...]
    event_ids: tuple[int, ...]
    reach: Finding
    is_put: bool
    _place: KnownFinding | None = None

    @classmethod
    def of(
        cls, known: tuple[KnownFinding, ...], seen: Iterable[Finding], event_ids: Iterable[int], is_put: bool
    ) -> "Cluster":
        sightings = kept(seen)
        return cls(known, sightings, tuple(sorted(set(event_ids))), reach(sightings), is_put)

    @property
    def place(self) -> KnownFinding:
        """The finding that the cluster becomes; its incident is set last."""
        assert self._place is not None
        return self._place

    @place.setter
    def place(self, place: KnownFinding) -> None:
        self._place = place

    def become(self, finding_id: int) -> None:
        """Makes the finding with this number, at first in the incident that it was in."""
        finding = whole(self.sightings)
        first = min(self.known, key=lambda one: (not one.by_hand, one.finding_id), default=None)
        if first is not None and first.finding == as_telegram(finding):
            finding = first.finding  # the name by its neighbours, until it is placed
        pieces = () if self.sightings == (finding,) else self.sightings
        if first is None:
            self._place = KnownFinding(finding_id, 0, self.event_ids, finding, pieces)
        else:
            self._place = KnownFinding(
                finding_id, first.incident_id, self.event_ids, finding, pieces, first.leads, first.by_hand
            )

    def in_place(self, beside: Iterable[Finding]) -> bool:
        """Returns True if it is stored with the same onset, so that it stays in its incident.

        Args:
            beside: other findings of its Box, as stored and as they will be. Those of another axis of time,
                and their order where they begin at the same time, decide where it belongs.
        """
        if len(self.known) != 1:
            return False
        was, now = self.known[0].finding, self.place.finding
        if (was.start_ns, was.uncertainty_ns, was.clock_id) != (
            now.start_ns,
            now.uncertainty_ns,
            now.clock_id,
        ):
            return False
        return all(
            is_other_axis(was, each) == is_other_axis(now, each)
            and (onset_key(was) < onset_key(each)) == (onset_key(now) < onset_key(each))
            for each in beside
        )


def stored_cluster(known: KnownFinding) -> Cluster:
    return Cluster.of((known,), known.pieces or (known.finding,), known.event_ids, False)


def united(clusters: list[Cluster]) -> list[Cluster]:
    """Unites clusters that are the same disturbance until there are no more such pairs."""
    done: list[Cluster] = []
    for cluster in clusters:
        grown_now = True
        while grown_now:
            grown_now = False
            for place, other in enumerate(done):
                if same(cluster.reach, other.reach):
                    cluster = Cluster.of(
                        other.known + cluster.known,
                        other.sightings + cluster.sightings,
                        other.event_ids + cluster.event_ids,
                        other.is_put or cluster.is_put,
                    )
                    del done[place]
                    grown_now = True
                    break
        done.append(cluster)
    return done


def holds(around: Finding, part: Finding) -> bool:
    """Returns True if `part` is of the same Box and family, within the span of `around`."""
    inside = around.start_ns <= part.start_ns and part.end_ns <= around.end_ns
    alike = family(around.kind) == family(part.kind) and same_line(around, part)
    return inside and alike and around.box_id == part.box_id


def own_finding(known: KnownFinding) -> Finding:
    """Returns a stored finding by the name that its own waveforms give it."""
    return whole(known.pieces) if known.pieces else known.finding
