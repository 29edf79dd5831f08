"""A disturbance that several events hold, with times of different clocks, is one incident."""

import random
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_cloud.mauka.joining.finding_writer import FindingWriter
from opq_cloud.mauka.running.calls.earlier_times import at_first_times, common_part
from opq_cloud.mauka.running.calls.event_analysis import analyse_stored
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import CloudStore, open_store
from opq_proto.decision import Nominal
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Gap, TimeSource, Trigger, Waveform
from opq_proto.wire.frames import CYCLE_SAMPLES

START_NS = 1_795_000_000 * 10**9
RATE_HZ = 12_000
S = 10**9
NOMINAL = Nominal(120.0, 60.0)
DIPS_S = {2.0: 0.4, 6.0: 0.55, 10.0: 0.7}
"""Begin -> residual, per unit; each lasts 0.1 s."""
FIRST_SAMPLE = 70_000
START_ID = 5 << 32 | 7


def recording() -> np.ndarray:
    """14 s of one start of a Box, with noise and three dips."""
    rng = np.random.default_rng(7)
    t_s = np.arange(14 * RATE_HZ) / RATE_HZ
    volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * t_s) + rng.normal(scale=0.5, size=len(t_s))
    for begin_s, residual in DIPS_S.items():
        volts[(t_s >= begin_s) & (t_s < begin_s + 0.1)] *= residual
    return np.round(volts / 0.0068).astype(np.int16)


SAMPLES = recording()


def part(begin_s: float, end_s: float, ahead_s: float, numbered: bool = True) -> Waveform:
    """Samples of the recording with times of a clock that is ahead; an original Box numbers none."""
    first, end = round(begin_s * RATE_HZ), round(end_s * RATE_HZ)
    if not numbered:
        first, end = first // CYCLE_SAMPLES * CYCLE_SAMPLES, end // CYCLE_SAMPLES * CYCLE_SAMPLES
    start_ns = START_NS + first * 10**12 // 12_000_000 + round(ahead_s * 1e9)
    source, uncertainty_ns = (
        (TimeSource.NTP, 10**7) if numbered else (TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
    )
    index = FIRST_SAMPLE + first if numbered else 0
    return Waveform(
        "1",
        start_ns,
        uncertainty_ns,
        source,
        12_000_000,
        0.0068,
        index,
        SAMPLES[first:end],
        numbered=numbered,
        start_id=START_ID if numbered else None,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


def put(store: CloudStore, wave: Waveform, completes: int | None = None) -> int:
    number = store.next_event_id()
    trigger = Trigger(f"t{number}", wave.start_ns, wave.end_ns, ("1",), "1", "test", completes)
    event_id = store.open_event(trigger, "test", number)
    store.put_waveform(event_id, wave)
    store.finish_event(event_id)
    return event_id


def incidents_after(store: CloudStore, event_ids: list[int]) -> list[float]:
    """The residuals of all incidents, after these events are analysed in this order."""
    writer = FindingWriter(lambda: store)
    for result in analyse_stored(store, event_ids, load_analyses([("rms_voltage", {})]), NOMINAL):
        writer.put_result(result)
    return sorted(
        min(round(each.finding.residual_percent) for each in one.findings)  # type: ignore[type-var]
        for one in store.incidents()
    )


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("aheads_s", [(0.0, 60.0, -3600.0), (0.0, -2.5, 9.0), (86_400.0, 0.0, -0.7)])
def test_an_event_over_several_others_adds_no_incident(
    store: CloudStore, aheads_s: tuple[float, float, float], numbered: bool
) -> None:
    """Its clock is another one than that of each of the two before it; it completes only the second."""
    first, second, third = aheads_s
    events = [put(store, part(1.0, 3.5, first, numbered)), put(store, part(5.0, 7.5, second, numbered))]
    events.append(put(store, part(0.5, 11.5, third, numbered), completes=events[1]))
    assert incidents_after(store, events) == [40, 55, 70]
    starts = sorted(one.start_ns for one in store.incidents())
    expected = [
        START_NS + round((begin + ahead) * 1e9) for begin, ahead in zip(DIPS_S, aheads_s, strict=True)
    ]
    assert starts == pytest.approx(sorted(expected), abs=20e6), "each has the time of its first event"


def test_an_onset_over_an_earlier_dip_is_compared(store: CloudStore) -> None:
    """It reaches back over an earlier dip."""
    events = [put(store, part(1.0, 3.5, 0.0)), put(store, part(1.5, 7.5, 250.0))]
    assert incidents_after(store, events) == [40, 55]


def test_another_start_of_the_box_numbers_other_samples(store: CloudStore) -> None:
    """The same index proves nothing: numbers begin again with each start, and the times differ by hours."""
    later = part(4.0, 7.5, 7200.0)
    events = [put(store, part(1.0, 3.5, 0.0)), put(store, replace(later, first_sample=FIRST_SAMPLE + 12_000))]
    assert incidents_after(store, events) == [40, 55]
    found = [one.start_ns for one in store.incidents()]
    assert max(found) - min(found) > 7000 * 10**9


def test_a_box_without_voltage_shows_no_place() -> None:
    """A Box without voltage shows nothing by samples that are all alike."""
    flat = replace(part(1.0, 3.0, 0.0), counts=np.zeros(24_000, np.int16))
    assert common_part(replace(flat, start_ns=flat.start_ns + 10**12), flat) is None


@given(st.data())
def test_common_samples_are_found_anywhere(
    data: st.DataObject,
) -> None:
    """By index; for an original Box, by whole windows."""
    numbered = data.draw(st.booleans())
    window = st.integers(0, 800)
    (a, b), (c, d) = (sorted(data.draw(st.tuples(window, window))) for _ in range(2))
    step_s = data.draw(st.floats(-1e5, 1e5))
    each_s = CYCLE_SAMPLES / RATE_HZ
    held, later = part(a * each_s, b * each_s, 0.0, numbered), part(c * each_s, d * each_s, step_s, numbered)
    if numbered and d - c > 4 and data.draw(st.booleans()):
        hole = data.draw(st.integers(1, len(later.counts) - 2))
        length = data.draw(st.integers(1, len(later.counts) - hole - 1))
        kept = np.concatenate((later.counts[:hole], later.counts[hole + length :]))
        later = replace(later, counts=kept, gaps=(Gap(later.first_sample + hole, length, "overrun"),))
        found = common_part(later, held)
        assert found is None or abs(found.by_ns + round(step_s * 1e9)) <= 100
        return
    found = common_part(later, held)
    common = min(b, d) - max(a, c)
    assert (found is not None) == (common >= 1)
    if found is not None:
        assert abs(found.by_ns + round(step_s * 1e9)) <= 200
        assert found.end_ns - found.start_ns == pytest.approx(common * each_s * 1e9, abs=100)


def test_times_of_one_clock_stay_as_they_are(store: CloudStore) -> None:
    events = [put(store, part(1.0, 3.5, 0.0)), put(store, part(1.5, 7.5, 0.0))]
    event = store.event(events[1])
    assert event is not None
    (result,) = analyse_stored(store, events[1:], load_analyses([("rms_voltage", {})]), NOMINAL)
    assert at_first_times(store, event, result.findings) == list(result.findings)
    assert {one.samples_began_ns for one in result.findings} == {START_NS - FIRST_SAMPLE * S // RATE_HZ}


@pytest.mark.parametrize("start_id", [START_ID + 1, None])
def test_equal_samples_of_another_start_are_other_samples(store: CloudStore, start_id: int | None) -> None:
    """A simulated Box sends the same samples after each start; its dips are as many incidents."""
    events = [
        put(store, part(1.0, 3.5, 0.0)),
        put(store, replace(part(1.0, 3.5, 60.0), start_id=start_id)),
    ]
    assert incidents_after(store, events) == [40, 40]
    times = sorted(one.start_ns for one in store.incidents())
    assert times[1] - times[0] == pytest.approx(60 * S, abs=1)


def test_similar_dips_are_as_apart_as_answers(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An original Box's dips that are alike are as far apart as their answers."""
    now_ns = START_NS
    monkeypatch.setattr(time, "time_ns", lambda: now_ns)
    events = []
    for after_s in (0.0, 60.0, 120.0):
        now_ns = START_NS + round((after_s + 4) * S)
        events.append(put(store, part(1.0, 3.5, after_s, numbered=False)))
    assert incidents_after(store, events) == [40, 40, 40]


@pytest.mark.parametrize("source", [TimeSource.HOLDOVER, TimeSource.GPS])
def test_two_stamps_of_a_receiver_refute_equal_samples(source: TimeSource) -> None:
    first = replace(part(1.0, 3.5, 0.0), source=source, uncertainty_ns=300)
    assert common_part(replace(part(1.0, 3.5, 60.0), source=source, uncertainty_ns=300), first) is None
    assert common_part(part(1.0, 3.5, 60.0), first) is not None, "only NTP's was set"


@settings(max_examples=12)
@given(
    st.lists(st.tuples(st.floats(-7200, 7200), st.booleans()), min_size=1, max_size=3),
    st.randoms(use_true_random=False),
)
def test_each_dip_is_one_incident_in_any_order(
    starts: list[tuple[float, bool]], order: random.Random
) -> None:
    """Each start has the same samples under the same numbers; in some a second event, by another clock,
    reaches back over the dip of the first."""
    with TemporaryDirectory() as folder, closing(open_store(None, Path(folder))) as store:
        events, dips = [], 0
        for number, (set_by_s, is_seen_again) in enumerate(starts):
            at_s = 30_000.0 * number
            waves = [part(1.0, 3.5, at_s)]
            if is_seen_again:
                waves.append(part(1.5, 7.5, at_s + set_by_s))
            events += [put(store, replace(wave, start_id=START_ID + number)) for wave in waves]
            dips += len(waves)
        order.shuffle(events)
        found = incidents_after(store, events)
        assert len(found) == dips and found.count(40) == len(starts)
