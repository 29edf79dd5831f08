"""Analyses of an event with an unknown gain of a Box find only disturbances that need no volts.

The waveform is scaled so that its usual rms is nominal: frequency, harmonics and angles do not depend on the
scale, and the measurement core does not take the signal for an interruption.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from opq_cloud.core.service import HealthReport
from opq_cloud.store.unknown_gain import gain_advice
from opq_proto.kit import log
from opq_proto.messages import Event, Finding, Waveform

NEEDS_NO_VOLTS = frozenset({"frequency_deviation", "harmonics", "interharmonics", "flicker", "phase_jump"})
"""Classes that are shares of the signal itself, or times."""
PIECE_S = 0.02
MOST_BOXES = 1000
USUAL_PERCENT = 90
"""A dip may last longer than half of the waveform."""


def unknown_gains(event: Event) -> frozenset[str]:
    """Returns the Boxes of the event whose gain is not stated."""
    return frozenset(wave.box_id for wave in event.waveforms if not wave.gain_known)


def at_nominal(event: Event, nominal_v: float) -> Event:
    """Returns the event with the waveforms of unknown gain scaled to nominal; the same event without any."""
    if not unknown_gains(event):
        return event
    scaled = (wave if wave.gain_known else _scaled(wave, nominal_v) for wave in event.waveforms)
    return replace(event, waveforms=tuple(scaled))


def judged(event: Event, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Returns the findings without those that rest on volts of a Box with unknown gain."""
    unknown = unknown_gains(event)
    return tuple(
        each
        for each in findings
        if unknown.isdisjoint((each.box_id, *each.beside)) or NEEDS_NO_VOLTS.issuperset(each.kind.split("+"))
    )


class UnknownGains:
    """Boxes whose newest waveform had no gain: logged once, and in health until one has it."""

    def __init__(self) -> None:
        self._boxes: dict[str, None] = {}

    def note_event(self, event: Event) -> None:
        unknown = unknown_gains(event)
        boxes = {**self._boxes, **dict.fromkeys(unknown)}
        for box_id in unknown - self._boxes.keys():
            log.get(service="mauka").warning("box.gain_unknown", box_id=box_id, advice=gain_advice(box_id))
        for wave in event.waveforms:
            if wave.gain_known:
                boxes.pop(wave.box_id, None)
        self._boxes = dict(list(boxes.items())[-MOST_BOXES:])  # another object: health reads it meanwhile

    def health(self) -> list[HealthReport]:
        return [HealthReport(f"gain of Box {each}", False, info=gain_advice(each)) for each in self._boxes]


def _scaled(wave: Waveform, nominal_v: float) -> Waveform:
    many = max(1, round(PIECE_S * wave.rate_hz))
    whole = len(wave.counts) // many * many
    pieces = wave.counts[:whole].reshape(-1, many).astype(np.float64)
    usual = float(np.percentile(np.sqrt((pieces**2).mean(axis=1)), USUAL_PERCENT)) if whole else 0.0
    return replace(wave, v_per_lsb=nominal_v / usual) if usual > 0 else wave
