"""The nominal voltage by which a Box was judged, as findings say it: its record may have another one now."""

from collections.abc import Callable, Iterable
from functools import cache

from opq_cloud.store.store import EventRecord, ShownStore
from opq_proto.messages import Finding

LEAST_PERCENT = 5.0
"""A smaller residual voltage says too little of what it is a percentage of."""
SAME = 0.005
"""The record's own value stays, where they differ by less."""


class JudgedNominals:
    """The nominal voltages by which the Boxes of some findings, and those asked with them, were judged."""

    def __init__(self, findings: Iterable[Finding], now_v: Callable[[str], float | None]) -> None:
        """`now_v`: the nominal voltage of a Box as its record has it now; None: it has none."""
        self._now_v = cache(now_v)
        self._said_v: dict[str, float] = {}
        for each in findings:
            volts = _said_v(each)
            if volts is not None:
                self._said_v.setdefault(each.box_id, volts)

    def volts(self, box_id: str) -> float | None:
        """As its own findings say it, else as those of a Box that has the same nominal voltage now.

        None: neither says anything; the present one is all that there is.
        """
        now_v, said_v = self._now_v(box_id), self._said_v.get(box_id)
        first = next(iter(self._said_v), None)
        if said_v is None and first is not None and self._now_v(first) == now_v:
            said_v = self._said_v[first]
        if said_v is None:
            return None
        return now_v if now_v is not None and abs(said_v / now_v - 1) < SAME else round(said_v, 1)


def judged_in_event(source: ShownStore, event: EventRecord) -> JudgedNominals:
    """As the findings of one event say it, as far as `source` shows them."""

    def now_v(box_id: str) -> float | None:
        record = source.box(box_id)
        return None if record is None else record.nominal_v

    found = source.findings_of_boxes(event.boxes_received, event.start_ns, event.end_ns)
    return JudgedNominals((each.finding for each in found if event.event_id in each.event_ids), now_v)


def _said_v(finding: Finding) -> float | None:
    volts, percent = finding.residual_v, finding.residual_percent
    return None if volts is None or percent is None or percent < LEAST_PERCENT else volts / percent * 100
