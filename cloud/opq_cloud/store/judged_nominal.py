"""The nominal voltage with which a Box was judged, from its findings, because what its record states of then
may have been corrected since.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import MappingProxyType

from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.store import ShownStore
from opq_proto.messages import Finding, Waveform

MIN_PERCENT = 5.0
"""With a smaller residual voltage the nominal voltage cannot be calculated well."""
SAME_NOMINAL_SHARE = 0.005
"""Where the difference is smaller, the record's own value is used."""


class JudgedNominals:
    """The nominal voltages with which the Boxes of some findings, and those asked with them, were judged."""

    def __init__(
        self,
        findings: Iterable[Finding],
        then_v: Callable[[str], float | None],
        stated_v: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """`then_v`: the nominal voltage that a Box's record states for then; None: it has none.

        `stated_v`: Box -> the one that the start of its samples stated.
        """
        self._then_v = cache(then_v)
        self._stated_v = stated_v
        self._declared_v: dict[str, float] = {}
        for each in findings:
            volts = _declared_v(each)
            if volts is not None:
                self._declared_v.setdefault(each.box_id, volts)

    def volts(self, box_id: str) -> float | None:
        """Returns the voltage from the Box's own findings, its samples' start, or a Box that had the same
        nominal voltage.

        None: none of these is known; only what its record states is.
        """
        then_v, declared_v = self._then_v(box_id), self._declared_v.get(box_id)
        if declared_v is None:
            declared_v = self._stated_v.get(box_id)
        first = next(iter(self._declared_v), None)
        if declared_v is None and first is not None and self._then_v(first) == then_v:
            declared_v = self._declared_v[first]
        if declared_v is None:
            return None
        return (
            then_v
            if then_v is not None and abs(declared_v / then_v - 1) < SAME_NOMINAL_SHARE
            else round(declared_v, 1)
        )


def judged_in_event(source: ShownStore, event: EventRecord) -> JudgedNominals:
    """Returns the voltages from the findings of one event, as far as `source` shows them."""

    def then_v(box_id: str) -> float | None:
        record = source.box(box_id)
        return None if record is None else record.at(event.start_ns).nominal_v

    found = source.findings_of_boxes(event.boxes_received, event.start_ns, event.end_ns)
    return JudgedNominals((each.finding for each in found if event.event_id in each.event_ids), then_v)


def stated_nominals(waves: Iterable[Waveform]) -> dict[str, float]:
    """Returns Box -> nominal voltage that the start of its samples stated, of the waveforms that have one."""
    return {wave.box_id: wave.nominal_v for wave in waves if wave.nominal_v is not None}


def _declared_v(finding: Finding) -> float | None:
    volts, percent = finding.residual_v, finding.residual_percent
    return None if volts is None or percent is None or percent < MIN_PERCENT else volts / percent * 100
