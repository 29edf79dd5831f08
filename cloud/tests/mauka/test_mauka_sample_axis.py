"""Two disturbances of a Box with the same times, because its clock was set between them, stay two."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from joining_table import MS, Table, sag

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.mauka.measuring.sample_axis import outage_began_ns, wave_began_ns
from opq_cloud.store import open_store
from opq_proto.measurement.continuity import DARK_AFTER, single
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Finding, TimeSource, Waveform

BEGAN = -20_000 * MS
"""The Box had run for 20 s at the time 0."""


def outage(start_ms: int, began_ns: int | None) -> Finding:
    end_ns = (start_ms + 12_600) * MS
    return Finding("outage", "1", start_ms * MS, end_ns, 500 * MS, samples_began_ns=began_ns)


@pytest.mark.parametrize(
    ("first", "later", "incidents"),
    [
        (sag(0, 150, samples_began_ns=BEGAN), sag(333, 470, samples_began_ns=BEGAN), 1),
        (sag(0, 150, samples_began_ns=BEGAN), sag(333, 470, samples_began_ns=BEGAN + 400 * MS), 1),
        (sag(0, 150, samples_began_ns=BEGAN), sag(333, 470, samples_began_ns=BEGAN - 36_000 * MS), 2),
        (sag(0, 150, samples_began_ns=BEGAN), sag(333, 470, samples_began_ns=BEGAN + 36_000 * MS), 2),
        (sag(0, 150, samples_began_ns=BEGAN), sag(100, 270, samples_began_ns=BEGAN + 2_000 * MS), 2),
        (sag(0, 150, samples_began_ns=BEGAN), sag(700, 900, samples_began_ns=300 * MS), 1),
        (sag(0, 150, samples_began_ns=BEGAN), sag(333, 470), 1),
        (sag(0, 150, samples_began_ns=BEGAN), outage(800, BEGAN + 900 * MS), 1),
        (sag(0, 150, samples_began_ns=BEGAN + 6_600 * MS), outage(800, BEGAN), 2),
        (sag(0, 150, samples_began_ns=BEGAN + 6_600 * MS), outage(800, None), 1),
    ],
    ids=[
        "one clock",
        "steered",
        "set back",
        "started again and set back",
        "the spans meet",
        "a brown-out",
        "an original Box",
        "a dip before an outage",
        "a dip after an outage",
        "an outage without an axis",
    ],
)
def test_a_clock_that_was_set_separates(
    first: Finding, later: Finding, incidents: int, tmp_path: Path
) -> None:
    for number, order in enumerate(permutations((first, later))):
        table, store = Table(), open_store(None, tmp_path / str(number))
        for event_id, one in enumerate(order, start=1):
            table.put([one], event_id)
            put_findings(store, event_id, [one])
        assert len(table.incidents()) == incidents
        assert len(store.incidents()) == incidents
        store.close()


def test_an_outage_and_a_waveform_share_a_beginning() -> None:
    """After a day, at a rate that is 40 ppm off."""
    rate_hz, day_s = 12_000.48, 86_400
    sample = round(day_s * rate_hz)
    wave = Waveform("1", day_s * 10**9, 0, TimeSource.GPS, 12_000_480, 0.0068, sample, [])
    ended_ns = (day_s + 10) * 10**9
    ran_s = (sample + 10 * rate_hz) / 12_000
    by_outage = outage_began_ns(ended_ns, {DARK_AFTER: single(ran_s)})
    assert by_outage is not None and wave_began_ns(wave) == pytest.approx(by_outage, abs=MS)
    assert outage_began_ns(ended_ns, {}) is None


def test_numbered_samples_need_no_clock() -> None:
    """A Box that numbers its samples is known without any clock."""
    wave = Waveform("1", 10**18, UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE, 12_000_000, 0.0068, 104_600, [])
    assert wave_began_ns(wave) is not None
    assert wave_began_ns(replace(wave, first_sample=0)) is None, "its start is unknown"
    assert wave_began_ns(replace(wave, first_sample=0, start_id=7)) == wave.start_ns
    assert wave_began_ns(replace(wave, numbered=False)) is None
