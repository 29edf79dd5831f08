"""Measures a recording: its nominal values, stated or estimated, and then all quantities, piece by piece."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import click
import numpy as np

from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.analyser import Analyser
from opq_measure.events.limits import Limits
from opq_measure.nominal import cycle_rms_v, estimated_hz, estimated_volts
from opq_measure.signal import FloatArray
from opq_proto.errors import RecordingError
from opq_recordings.bridging import bridged_pieces, bridged_samples
from opq_recordings.recording import Recording
from opq_tools.progress import shown_progress

DEFAULT_NOMINAL_HZ = 60.0
"""Where neither a person nor the samples say anything: of silence or noise."""
LOOKED_AT_SAMPLES, STRETCHES = 1 << 22, 128
"""Samples that a nominal voltage is estimated from: all of a short recording, else so many stretches."""


@dataclass(frozen=True, slots=True)
class Nominal:
    """The nominal values by which a recording is judged, where they come from, and how sure they are."""

    volts: float | None
    """None: it is not known, and no rms verdict may be given."""
    hz: float
    volts_from: str = "stated"
    hz_from: str = "stated"
    volts_sureness: float = 1.0
    hz_sureness: float = 1.0
    median_rms_v: float | None = None

    @property
    def assumed(self) -> dict[str, float | None]:
        """The keys of the contract whose value nobody stated, with what was taken."""
        volts = {} if self.volts_from == "stated" else {"nominal_volts": self.volts}
        return volts | ({} if self.hz_from == "stated" else {"nominal_hz": self.hz})


@dataclass(frozen=True, slots=True)
class Measured:
    """A recording with its analysis and the nominal values that it was made with."""

    recording: Recording
    analysis: SignalAnalysis
    nominal: Nominal

    def summary(self, file: str) -> dict[str, object]:
        """The contract's document, with what was read and assumed."""
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
            "assumed": {**self.recording.assumed, **self.nominal.assumed},
        }


def nominal_of(recording: Recording) -> Nominal:
    """The stated nominal values; those that are not stated are estimated from the samples."""
    stated = Nominal(recording.nominal_v, recording.nominal_hz or DEFAULT_NOMINAL_HZ)
    if recording.nominal_v is not None and recording.nominal_hz is not None:
        return stated
    if recording.nominal_hz is None:
        longest = recording.longest_run()
        first = longest.first_sample
        some = recording.volts(first, first + min(longest.samples, LOOKED_AT_SAMPLES >> 5))
        found = estimated_hz(some, recording.rate_hz)
        stated = replace(
            stated,
            hz=found.value or DEFAULT_NOMINAL_HZ,
            hz_from="estimated" if found.value else "default",
            hz_sureness=found.sureness,
        )
    if recording.nominal_v is None:
        rms_v = cycle_rms_v(_stretches(recording), recording.rate_hz, stated.hz)
        found = estimated_volts(rms_v, stated.hz if stated.hz_from != "default" else None)
        stated = replace(
            stated,
            volts=found.value,
            volts_from="estimated" if found.value else "unknown",
            volts_sureness=found.sureness,
            median_rms_v=float(np.median(rms_v)) if len(rms_v) else None,
        )
    return stated


def _stretches(recording: Recording) -> Iterator[FloatArray]:
    """The volts between gaps; of a long recording some stretches, evenly over all of it."""
    every = max(1, recording.samples // LOOKED_AT_SAMPLES * 32)
    for k, piece in enumerate(recording.pieces(LOOKED_AT_SAMPLES // STRETCHES)):
        if k % every == 0:
            yield np.asarray(piece.volts, dtype=np.float64) * piece.v_per_lsb


def measured(recording: Recording, limits: Limits, nominal: Nominal | None = None) -> Measured:
    """Measures a whole recording; shows progress on a terminal, and says on stderr what was assumed.

    Without a nominal voltage, the results are relative to the median rms, and no rms verdict is among them.

    Raises:
        RecordingError: nothing can be measured with these samples or this rate.
    """
    nominal = nominal or nominal_of(recording)
    reference_v = nominal.volts or nominal.median_rms_v or 0.0
    try:
        analyser = Analyser(reference_v if reference_v > 0 else 1.0, nominal.hz, limits)
        with shown_progress(f"measuring {recording.path.name}", recording.samples) as show:
            most = bridged_samples(recording.rate_hz, nominal.hz)
            for piece, filled in bridged_pieces(recording, most):
                analyser.push_samples(piece, filled)
                show(piece.end_sample)
        analysis = analyser.end()
    except ValueError as error:
        raise RecordingError(f"{recording.path}: {_in_words(str(error))}") from error
    if nominal.volts is None:
        analysis = without_verdicts(analysis)
    return Measured(recording, analysis, nominal)


def without_verdicts(analysis: SignalAnalysis) -> SignalAnalysis:
    """The analysis without dips, swells and interruptions; what came with them stays."""
    beside = [part for parts in analysis.details for part in parts]
    together = sorted((*analysis.occurrences, *beside), key=lambda each: each.start_sample)
    return replace(analysis, disturbances=(), details=(), occurrences=tuple(together))


def warn_of(found: Measured) -> None:
    """Says on stderr what was assumed and what was contradictory, a line each."""
    name, nominal = found.recording.path.name, found.nominal
    for problem in found.recording.problems:
        click.echo(f"opq-tools: {name}: {problem}", err=True)
    known_v = nominal.median_rms_v
    rms = "" if known_v is None or not math.isfinite(known_v) else f", its median rms is {known_v:.4g} V"
    if nominal.volts_from == "estimated":
        click.echo(
            f"opq-tools: {name}: no nominal voltage is stated{rms}; {nominal.volts:g} V is assumed "
            f"(sureness {nominal.volts_sureness:.2f}); give --nominal-volts",
            err=True,
        )
    elif nominal.volts is None:
        click.echo(
            f"opq-tools: {name}: no nominal voltage is stated{rms}, near no standard voltage; dips and "
            "swells are not judged; give --nominal-volts",
            err=True,
        )
    if nominal.hz_from == "default":
        click.echo(
            f"opq-tools: {name}: no nominal frequency is stated, and no line near 16.7, 50, 60 or 400 Hz is "
            f"found; {nominal.hz:g} Hz is assumed; give --nominal-hz",
            err=True,
        )
    if "channel" in found.recording.assumed:
        others = ", ".join(each.name for each in found.recording.channels[:12])
        click.echo(
            f"opq-tools: {name}: channel {found.recording.channel.name} was taken of {others}; choose with "
            "--channel",
            err=True,
        )


def _in_words(text: str) -> str:
    """A message of the measurement core, with the option that helps where one does."""
    return f"{text}; is its rate right? --rate-hz" if text.startswith("rate_hz is") else text
