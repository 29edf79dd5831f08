"""Three phases of one file, measured together: unbalance, angles, and the events of the whole supply.

Source: IEC 61000-4-30:2015, 5.4.3 (polyphase dips and swells), 5.5.2 (interruptions), 5.7.1 (unbalance).
"""

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from opq_analyze.measuring import Measured
from opq_analyze.nominal_values import Nominal
from opq_measure.aggregation.unbalance import Group, PhaseWindow, Unbalance
from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.analyser import Analyser
from opq_measure.events.limits import Limits
from opq_measure.events.polyphase import ChannelEvent, GroupEvent, group_events
from opq_measure.signal import WAVEFORM_SAMPLES, SignalPiece
from opq_measure.timebase.windows import Window
from opq_proto.errors import RecordingError
from opq_recordings.bridging import bridged_pieces, bridged_samples
from opq_recordings.facts import RecordingFacts
from opq_recordings.phase_names import phase_order
from opq_recordings.reading import with_channel
from opq_recordings.recording import NS_PER_S, Recording

MOST_COMPARED = 60
"""Voltages of a file among which phases that do not follow each other are looked for."""


@dataclass(frozen=True, slots=True)
class Phases:
    """Three channels in the order of the phases, with their common results."""

    names: tuple[str, ...]
    analyses: tuple[SignalAnalysis, ...]
    unbalances: tuple[Unbalance, ...]
    """One for each window of 10/12 cycles; none where a cycle has too few samples."""
    events: tuple[GroupEvent, ...]

    def entry(self) -> dict[str, object]:
        """The key `phases` of the contract; percent, degrees; unknown is None."""
        known = [each for each in self.unbalances if each.rotation is not None]
        rotations = [each.rotation for each in known]
        angles = np.degrees([_mean_angle([each.angles_rad[k] for each in known]) for k in (0, 1)])
        return {
            "channels": list(self.names),
            "rms_v": [each.rms_statistics["mean"] for each in self.analyses],
            "angles_degrees": [0.0, *angles.tolist()] if known else None,
            "rotation": max(set(rotations), key=rotations.count) if known else None,
            "u2_percent": _percent([each.u2_percent for each in known]),
            "u0_percent": _percent([each.u0_percent for each in known]),
            "events": [
                {
                    "class": each.kind,
                    "start_s": each.start_ns / NS_PER_S,
                    "end_s": None if each.end_ns is None else each.end_ns / NS_PER_S,
                    "residual_percent": each.residual_percent,
                    "channel": each.channel,
                    "channels": list(each.channels),
                }
                for each in self.events
            ],
        }


def phase_channels(recording: Recording) -> tuple[tuple[str, ...], str | None]:
    """The names of three voltages of one file that are the phases of one supply, the chosen one among them.

    They follow each other in the file, in any order, or differ in nothing but the phase in their names; and
    they have one rate, length, unit and start. Else the names are empty, and a sentence says why where the
    file has three voltages.
    """
    voltages = [each for each in recording.channels if each.quantity == "voltage"]
    names = [each.name for each in voltages]
    if recording.channel.name not in names or len(voltages) < 3 or len(set(names)) < len(names):
        return (), None
    at = names.index(recording.channel.name)
    why = None
    nearby = [(first, first + 1, first + 2) for first in (at, at - 1, at - 2) if 0 <= first <= len(names) - 3]
    first = max(0, at - MOST_COMPARED // 2)
    others = [k for k in range(first, min(len(names), first + MOST_COMPARED)) if k != at]
    apart = [(at, *pair) for pair in itertools.combinations(others, 2)]
    for places, fields in [*((each, True) for each in nearby), *((each, False) for each in apart)]:
        three = [voltages[k] for k in places]
        found = phase_order(
            [each.phase if fields else "" for each in three],
            ["" if each.box_id else each.name for each in three],
        )
        why = why or found.why
        if found.order is None:
            continue
        if len({(each.samples, each.rate_hz, each.unit, each.start_ns) for each in three}) == 1:
            return tuple(three[k].name for k in found.order), None
        why = why or f"{', '.join(each.name for each in three)} differ in rate, length, unit or start"
    shown = ", ".join(names[max(0, at - 2) : at + 3])
    return (), why or f"which of its {len(names)} voltages are three phases is not stated: {shown}"


def phases_of(found: Measured, given: RecordingFacts, limits: Limits) -> tuple[Phases | None, str | None]:
    """The common results of a file's three phases, unless one channel is requested; or why there are none.

    Raises:
        RecordingError: as `measured_phases`.
    """
    recording = found.recording
    if given.channel is not None or len(recording.channels) < 3 or found.kind is not None:
        return None, None
    return measured_phases(recording, given, found.nominal, limits)


def measured_phases(
    recording: Recording, given: RecordingFacts, nominal: Nominal, limits: Limits
) -> tuple[Phases | None, str | None]:
    """Measures the three phases that the chosen channel belongs to; or says why the file has none.

    Raises:
        RecordingError: one of them has an infinite value, or no unit.
    """
    names, why = phase_channels(recording)
    if not names:
        return None, why
    if nominal.volts is None:
        return None, "the nominal voltage is not known"
    recordings = [replace(with_channel(recording, name, given), start_ns=0) for name in names]
    if len({each.samples for each in recordings}) > 1:
        return None, f"one of {', '.join(names)} begins or ends with missing samples"
    group, unbalances = Group(), list[Unbalance]()
    shows_wave = recording.rate_hz >= WAVEFORM_SAMPLES * nominal.hz

    def join(phase: int, window: Window) -> None:
        if shows_wave:
            unbalances.extend(group.push_window(phase, PhaseWindow.of(window)))

    analysers = [
        Analyser(nominal.volts, nominal.hz, limits, ("rms", "events"), False, partial(join, phase))
        for phase in range(3)
    ]
    try:
        for phase, piece, filled in _in_step(recordings, nominal.hz):
            analysers[phase].push_samples(piece, filled)
        analyses = tuple(each.end() for each in analysers)
    except ValueError as error:
        raise RecordingError(f"{recording.path}: {error}") from error
    events = [
        ChannelEvent(
            name,
            each.kind,
            round(each.start_s * NS_PER_S),
            None if each.open else round((each.start_s + each.duration_s) * NS_PER_S),
            each.residual_percent,
        )
        for name, analysis in zip(names, analyses, strict=True)
        for each in analysis.disturbances
    ]
    return Phases(names, analyses, tuple(unbalances), group_events(events, names)), None


def _in_step(recordings: Sequence[Recording], nominal_hz: float) -> Iterator[tuple[int, SignalPiece, bool]]:
    """The pieces of all three, those that begin earlier first, so that their windows need not wait."""

    def pieces(phase: int, recording: Recording) -> Iterator[tuple[int, int, SignalPiece, bool]]:
        for piece, filled in bridged_pieces(recording, bridged_samples(recording.rate_hz, nominal_hz)):
            yield piece.first_sample, phase, piece, filled

    streams = (pieces(phase, recording) for phase, recording in enumerate(recordings))
    for _, phase, piece, filled in heapq.merge(*streams, key=lambda each: each[:2]):
        yield phase, piece, filled


def _mean_angle(angles_rad: Sequence[float]) -> float:
    known = [each for each in angles_rad if math.isfinite(each)]
    return float(np.angle(np.exp(1j * np.array(known)).sum())) if known else math.nan


def _percent(values: Sequence[float]) -> dict[str, float | None]:
    known = [each for each in values if math.isfinite(each)]
    return {"mean": float(np.mean(known)), "max": max(known)} if known else {"mean": None, "max": None}
