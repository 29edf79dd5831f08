"""Frequency of every UTC second of a stream, each by `one_second_hz`."""

from dataclasses import dataclass

from opq_measure.frequency.one_second import one_second_hz
from opq_measure.frequency.utc_run import SECOND_NS, UtcRun
from opq_measure.signal import SignalPiece, check_signal


@dataclass(frozen=True, slots=True)
class SecondFrequency:
    """The UTC second from `start_ns` on; `hz` NaN where there was no fundamental."""

    start_ns: int
    hz: float


class Seconds:
    """Frequency second by second as pieces come in; any cutting into pieces gives the same bits.

    An incomplete second (at the beginning, at a gap, at the end) is left out.
    """

    def __init__(self, nominal_hz: float) -> None:
        self._nominal_hz = nominal_hz
        self._run = UtcRun()
        self._second = 0

    def push_samples(self, samples: SignalPiece) -> list[SecondFrequency]:
        """The seconds that these samples complete.

        Raises:
            ValueError: see `signal.check_signal`; or `start_ns` is not known.
        """
        check_signal(samples.volts, samples.rate_hz, self._nominal_hz)
        run = self._run
        if run.push_samples(samples):
            self._second = run.count_from(run.first)
        if run.rate_hz == 0.0:
            return []
        found = []
        while True:
            first, last = round(run.position(self._second)), round(run.position(self._second + 1))
            if last > run.end:
                break
            if first >= run.first:
                hz = one_second_hz(run.frame(first, last), run.rate_hz, self._nominal_hz)
                found.append(SecondFrequency(self._second * SECOND_NS, hz))
            self._second += 1
        run.discard_before(first)
        return found
