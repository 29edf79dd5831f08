"""Samples that several events of a Box hold, with times of different clocks: a disturbance has one time.

A clock that is set between two events gives the samples that both have other times. A finding has those of
the first event that holds its samples; so it is one incident, however many later events reach back over it.

Two events hold the same samples only if the Box did not start between them. Equal numbers and samples show
something within one start only, because a simulated Box sends the same ones after each start. Where the
gateway does not name the start, no samples are taken for the same. A Box of the original has neither start
nor numbers: the order in which its answers came has to show that its clock was set, and equal windows show
the place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from opq_cloud.mauka.measuring.sample_axis import wave_began_ns
from opq_cloud.store.store import CloudStore
from opq_cloud.store.waveform_place import WaveformPlace
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Event, Finding, TimeSource, Waveform
from opq_proto.wire.frames import CYCLE_SAMPLES

EARLIER_EVENTS = 32
"""Events of a Box before an event that are compared with it, newest first."""
SET_NS = 1_000_000
"""Times that differ by less are of one clock, which is steered."""
UNNUMBERED_NS = 300 * 10**9
"""Waveforms of a Box that does not number its samples are compared when stored within this of each other: its
memory holds no more."""
ANSWERED_NS = 5 * 10**9
"""By the order of arrival a clock was set if the times of two answers differ by this much more or less than
the time between them: an answer comes some seconds after its samples."""


@dataclass(frozen=True, slots=True)
class RepeatedSamples:
    """[start_ns, end_ns) of a waveform that an earlier event holds too, with times that are `by_ns` later."""

    start_ns: int
    end_ns: int
    by_ns: int
    uncertainty_ns: int
    """Of the earlier event's times."""


def at_first_times(store: CloudStore, event: Event, findings: Iterable[Finding]) -> list[Finding]:
    """Returns the findings of an event with the times of the first events that hold their samples.

    And with the time at which the samples of their Box began, by these.

    Raises:
        StoreError: an earlier event cannot be read.
    """
    waves = {wave.box_id: wave for wave in event.waveforms}
    known: dict[str, list[RepeatedSamples]] = {}
    found = []
    for one in findings:
        wave = waves.get(one.box_id)
        if wave is None:
            found.append(one)
            continue
        if one.box_id not in known:
            known[one.box_id] = repeated_samples(store, event.event_id, wave)
        one = replace(one, samples_began_ns=wave_began_ns(wave), start_id=wave.start_id)
        found.append(_at_first_time(one, known[one.box_id]))
    return found


def _at_first_time(one: Finding, repeated: Sequence[RepeatedSamples]) -> Finding:
    end_ns, began_ns = max(one.end_ns, one.start_ns + 1), one.samples_began_ns
    for part in repeated:
        if part.start_ns < end_ns and one.start_ns < part.end_ns:
            return replace(
                one,
                start_ns=one.start_ns + part.by_ns,
                end_ns=one.end_ns + part.by_ns,
                uncertainty_ns=max(one.uncertainty_ns, part.uncertainty_ns),
                samples_began_ns=None if began_ns is None else began_ns + part.by_ns,
            )
    return one


def repeated_samples(store: CloudStore, event_id: int, wave: Waveform) -> list[RepeatedSamples]:
    """Returns the parts of a waveform that earlier events hold with another clock's times, first event first.

    Raises StoreError.
    """
    places = store.waveform_places(wave.box_id, event_id, EARLIER_EVENTS + 1)
    if not places or places[0].event_id != event_id:
        return []
    own, found = places[0], []
    for place in reversed(places[1:]):
        if not _may_repeat(own, place):
            continue
        held = store.waveform(place.event_id, wave.box_id)
        part = None if held is None else common_part(wave, held)
        if part is None or abs(part.by_ns) <= SET_NS:
            continue
        if wave.numbered or _was_set_between(own, place, part.by_ns):
            found.append(part)
    return found


def _may_repeat(own: WaveformPlace, place: WaveformPlace) -> bool:
    """Returns False if no samples can be in both, or if these have the same times."""
    if not own.numbered or not place.numbered:
        if own.numbered or place.numbered or own.stored_ns is None or place.stored_ns is None:
            return False
        return abs(own.stored_ns - place.stored_ns) <= UNNUMBERED_NS
    if own.start_id is None or own.start_id != place.start_id:
        return False
    first = max(own.first_sample, place.first_sample)
    if first >= min(own.end_sample, place.end_sample):
        return False
    return abs(own.time_ns(first) - place.time_ns(first)) > SET_NS


def _was_set_between(own: WaveformPlace, place: WaveformPlace, by_ns: int) -> bool:
    """Returns True if the order of arrival shows that an original Box's clock was set between two answers.

    `by_ns`: as in `RepeatedSamples`, if it was. Above 0: what came later has the earlier time. Below 0, and
    the clock was not set: these are two disturbances, that much apart, and so are the answers.
    """
    assert own.stored_ns is not None and place.stored_ns is not None  # see _may_repeat
    return by_ns > 0 or abs(own.stored_ns - place.stored_ns + by_ns) > ANSWERED_NS


def common_part(wave: Waveform, held: Waveform) -> RepeatedSamples | None:
    """Returns the samples of `wave` that `held` has too: of one start, index and value, a cycle at least.

    An original Box does not number its samples; it sends whole windows, and those that occur once in each of
    the two waveforms show the place. Samples that are all alike show nothing.
    """
    if wave.numbered and held.numbered:
        if wave.start_id is None or wave.start_id != held.start_id:
            return None
        found = _common_part(wave, held, 0)
        return None if found is not None and _stamps_refute(wave, held, found.by_ns) else found
    if wave.numbered or held.numbered:
        return None
    shift = _window_shift(wave, held)
    return None if shift is None else _common_part(wave, held, shift)


def _stamps_refute(wave: Waveform, held: Waveform, by_ns: int) -> bool:
    """Returns True if receivers disciplined both clocks, and their times differ by more than their bounds."""
    both = wave.uncertainty_ns + held.uncertainty_ns
    is_disciplined = min(wave.source, held.source) >= TimeSource.HOLDOVER
    return is_disciplined and both < UNKNOWN_UNCERTAINTY_NS and abs(by_ns) > both + SET_NS


def _common_part(wave: Waveform, held: Waveform, shift: int) -> RepeatedSamples | None:
    for mine in wave.runs():
        for other in held.runs():
            first = max(mine.first_sample, other.first_sample + shift)
            end = min(mine.first_sample + len(mine.counts), other.first_sample + shift + len(other.counts))
            if end - first < CYCLE_SAMPLES:
                continue
            common = mine.counts[first - mine.first_sample : end - mine.first_sample]
            theirs = first - shift - other.first_sample
            if np.ptp(common) == 0 or not np.array_equal(common, other.counts[theirs : theirs + end - first]):
                continue
            start_ns = mine.time_ns(first - mine.first_sample)
            return RepeatedSamples(
                start_ns,
                mine.time_ns(end - mine.first_sample),
                other.time_ns(theirs) - start_ns,
                held.uncertainty_ns,
            )
    return None


def _window_shift(wave: Waveform, held: Waveform) -> int | None:
    """Returns what is added to positions in `held` to get those in `wave`; None: no window is in both."""
    mine, theirs = _windows(wave), _windows(held)
    for data, position in mine.items():
        if position is not None and (there := theirs.get(data)) is not None:
            return position - there
    return None


def _windows(wave: Waveform) -> dict[bytes, int | None]:
    """Returns the samples of each window -> its position; None: that window occurs again."""
    found: dict[bytes, int | None] = {}
    for run in wave.runs():
        for at in range(0, len(run.counts) - CYCLE_SAMPLES + 1, CYCLE_SAMPLES):
            data = run.counts[at : at + CYCLE_SAMPLES].tobytes()
            found[data] = None if data in found else run.first_sample + at
    return found
