"""The clock of a finding: of Measurements of the moment, or of those around where they are missing."""

import pytest

from opq_cloud.mauka.joining.finding_writer import FindingWriter
from opq_cloud.store import open_store
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Finding, Measurement

START_MS = 1_700_000_000_000


@pytest.fixture
def store(tmp_path):
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


def clock_of(writer, at_s, box_id="1"):
    start_ns = (START_MS + round(1000 * at_s)) * 1_000_000
    return writer.with_clock(
        Finding("sag", box_id, start_ns, start_ns + 10**8, UNKNOWN_UNCERTAINTY_NS, residual_percent=70.0)
    ).clock_id


def put_rows(store, *rows, box_id="1"):
    """(seconds, clock) of each."""
    made = [
        Measurement(box_id, START_MS + round(1000 * at_s), {}, sequence=round(10 * at_s), clock_id=clock)
        for at_s, clock in rows
    ]
    store.append_measurements(made)


def test_late_measurements_keep_a_findings_clock(store):
    put_rows(store, (0.0, 7), (0.2, 7))
    writer = FindingWriter(lambda: store)
    assert clock_of(writer, 1.0) == 7
    assert clock_of(writer, 30.0) == 7  # those of 30 s are not stored yet
    assert clock_of(FindingWriter(lambda: store), 30.0) == 7  # nor does it have to be remembered
    assert clock_of(FindingWriter(lambda: store), 100.0) is None  # too long ago


def test_measurements_of_the_moment_come_first(store):
    """The measurements of the moment count before older ones."""
    put_rows(store, (0.0, 7), (20.0, 8))
    writer = FindingWriter(lambda: store)
    assert clock_of(writer, 0.0) == 7
    assert clock_of(writer, 20.0) == 8
    assert clock_of(FindingWriter(lambda: store), 10.0) is None  # it had two
    assert clock_of(writer, 10.0, box_id="2") is None
