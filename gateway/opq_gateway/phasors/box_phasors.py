"""BoxPhasors: the synchrophasors of one Box, from the pieces of its samples; pure."""

import math

from opq_gateway.measuring.values import Phasor
from opq_measure.signal import Samples
from opq_measure.synchrophasor.filter import PmuClass
from opq_measure.synchrophasor.pmu import Pmu
from opq_proto.messages import TimeSource


class BoxPhasors:
    """Reports at whole parts of the UTC second; one whose filter spans a gap is left out."""

    def __init__(self, box_id: str, nominal_hz: float, reports_per_s: int, pmu_class: PmuClass) -> None:
        """
        Raises:
            ValueError: a nominal frequency that is no whole number, or more reports than four a cycle.
        """
        self._box_id = box_id
        self._pmu = Pmu(nominal_hz, reports_per_s, pmu_class)

    def push(self, piece: Samples, clock: tuple[int, TimeSource]) -> list[Phasor]:
        """The reports that a piece completes.

        Args:
            piece: with its UTC; what does not follow the last begins anew.
            clock: uncertainty in ns and source of its time.
        """
        return [
            Phasor(
                box_id=self._box_id,
                t_ns=report.time_ns,
                phasor_v=report.value,
                frequency_hz=report.frequency_hz,
                rocof_hz_per_s=report.rocof_hz_s,
                uncertainty_ns=clock[0],
                source=clock[1],
                known=math.isfinite(report.frequency_hz),
            )
            for report in self._pmu.push(piece)
        ]


def phasors_of(box_id: str, nominal_hz: float, asked: tuple[int, PmuClass] | None) -> BoxPhasors | None:
    """As asked (reports a second, class); None: nobody asked, or this nominal frequency has no phasors
    (railways' 16.7 Hz: the reference is a cosine that begins anew each second)."""
    if asked is None:
        return None
    try:
        return BoxPhasors(box_id, nominal_hz, *asked)
    except ValueError:
        return None
