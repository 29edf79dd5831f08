"""Measures a recording piece by piece, and reports assumptions."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from opq_analyze.nominal_values import Nominal, consistent, nominal_of
from opq_analyze.recorder_faults import RecorderFault, faults_of, stuck_parts
from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.analyser import Analyser
from opq_measure.analysis.quantities import GROUPS, NOT_ASKED
from opq_measure.events.limits import Limits
from opq_proto.errors import RecordingError
from opq_recordings.bridging import bridged_pieces, bridged_samples
from opq_recordings.recording import Recording, without_spans

CYCLES_S = 60.0
"""Longest recording whose cycles are in the JSON by default; a minute of them has 0.9 MB."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The wanted measurements: groups of quantities, and whether cycles are kept."""

    only: tuple[str, ...] = GROUPS
    cycles: bool | None = True
    """None: up to `CYCLES_S`."""

    def keeps_cycles_of(self, recording: Recording) -> bool:
        return recording.samples <= CYCLES_S * recording.rate_hz if self.cycles is None else self.cycles


@dataclass(frozen=True, slots=True)
class Measured:
    """A recording with its analysis and the nominal values that it was made with."""

    recording: Recording
    analysis: SignalAnalysis
    nominal: Nominal
    faults: tuple[RecorderFault, ...] = ()
    keeps_cycles: bool = True

    @property
    def measured_all(self) -> bool:
        """Whether no group of quantities was left out by choice."""
        return NOT_ASKED not in self.analysis.left_out.values()

    @property
    def kind(self) -> str | None:
        """`no_mains` or `stuck` where the whole recording is that; then no disturbance is given."""
        return next((each.kind for each in self.faults if each.whole), None)

    def summary(self, file: str) -> dict[str, object]:
        """The contract's document, with facts of the file and assumptions."""
        found = self.analysis.summary(file)
        provenance = self.recording.provenance()
        return {
            **found,
            "nominal_volts": self.nominal.volts,
            "nominal": {
                "volts_from": self.nominal.volts_from,
                "volts_sureness": self.nominal.volts_sureness,
                "hz_from": self.nominal.hz_from,
                "hz_sureness": self.nominal.hz_sureness,
                "median_rms_v": self.nominal.median_rms_v,
            },
            **provenance,
            "left_out": self.left_out,
            "faults": [each.entry(self.analysis.rate_hz) for each in self.faults],
            "assumed": {**self.recording.assumed, **self.nominal.assumed},
        }

    @property
    def left_out(self) -> dict[str, str]:
        """Each group of quantities, and each list, that the document has null, with the reason."""
        found = dict(self.analysis.left_out)
        if not self.keeps_cycles or "rms" in found:
            reason = found.get("rms", f"longer than {CYCLES_S:g} s; give --detail cycles")
            found |= dict.fromkeys(("cycles", "half_cycles"), reason)
        return found


def measured(
    recording: Recording,
    limits: Limits,
    nominal: Nominal | None = None,
    wanted: Wanted | None = None,
    show: Callable[[int], None] | None = None,
) -> Measured:
    """Measures a whole recording.

    Without a nominal voltage, the results are relative to the median rms, and no rms verdict is among them.

    Args:
        nominal: the nominal values; None: those stated or estimated.
        show: gets the number of samples that are done, from time to time.
    Raises:
        RecordingError: nothing can be measured with these samples or this rate.
    """
    recording = consistent(recording)
    wanted = wanted or Wanted()
    keeps_cycles = wanted.keeps_cycles_of(recording)
    nominal = nominal or nominal_of(recording)
    faults = faults_of(recording, nominal)
    if stuck := stuck_parts(faults):
        recording = replace(recording, channel=without_spans(recording.channel, stuck))
    reference_v = nominal.volts or nominal.median_rms_v or 0.0
    try:
        analyser = Analyser(
            reference_v if reference_v > 0 else 1.0, nominal.hz, limits, wanted.only, keeps_cycles
        )
        most = bridged_samples(recording.rate_hz, nominal.hz)
        for piece, filled in bridged_pieces(recording, most):
            analyser.push_samples(piece, filled)
            if show is not None:
                show(piece.end_sample)
        analysis = analyser.end()
    except ValueError as error:
        raise RecordingError(f"{recording.path}: {_in_words(str(error))}") from error
    if any(each.whole for each in faults):
        analysis = replace(without_verdicts(analysis), occurrences=())
    elif nominal.volts is None:
        analysis = without_verdicts(analysis)
    return Measured(recording, analysis, nominal, faults, keeps_cycles)


def without_verdicts(analysis: SignalAnalysis) -> SignalAnalysis:
    """The analysis without dips, swells and interruptions; what came with them stays."""
    beside = [part for parts in analysis.details for part in parts]
    together = sorted((*analysis.occurrences, *beside), key=lambda each: each.start_sample)
    return replace(analysis, disturbances=(), details=(), occurrences=tuple(together))


def warnings_of(found: Measured) -> Iterator[str]:
    """The assumptions and contradictions, a sentence each, with the options that help."""
    nominal = found.nominal
    yield from found.recording.problems
    for fault in found.faults:
        begin_s, end_s = fault.first / found.analysis.rate_hz, fault.stop / found.analysis.rate_hz
        yield f"{fault.kind}, {begin_s:.4f} to {end_s:.4f} s: {fault.because}"
    known_v = nominal.median_rms_v
    rms = "" if known_v is None or not math.isfinite(known_v) else f", its median rms is {known_v:.4g} V"
    if nominal.volts_from == "estimated":
        yield (
            f"no nominal voltage is stated{rms}; {nominal.volts:g} V is assumed "
            f"(sureness {nominal.volts_sureness:.2f}); give --nominal-volts"
        )
    elif nominal.volts is None:
        yield (
            f"no nominal voltage is stated{rms}, far from every standard voltage; dips and swells are "
            f"not judged; give --nominal-volts"
        )
    if nominal.hz_from == "default":
        yield (
            "no nominal frequency is stated, and no line near 16.7, 50, 60 or 400 Hz is "
            f"found; {nominal.hz:g} Hz is assumed; give --nominal-hz"
        )
    if "channel" in found.recording.assumed:
        others = ", ".join(each.name for each in found.recording.channels[:12])
        yield f"channel {found.recording.channel.name} was taken of {others}; choose with --channel"


def _in_words(text: str) -> str:
    """A message of the measurement core, with the option that helps where one does."""
    return f"{text}; is its rate right? --rate-hz" if text.startswith("rate_hz is") else text
