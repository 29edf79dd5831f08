"""The live feed's decoding: what is malformed is left out, the others stay in their order."""

from dataclasses import replace

from opq_cloud.view.live.reader import live_windows
from opq_cloud.view.live.recent import (
    KEPT_TOGETHER,
    MIN_KEPT,
    RECENT_MEASUREMENTS,
    RecentMeasurements,
    kept_of_each,
)
from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.wire.frames import topic


def measured(box: int, second: int) -> Measurement:
    t_ns = (1_700_000_000 + second) * 10**9
    metrics = {
        name: Metric(value - 1, value + 1, value + box / 8)
        for name, value in (("f", 60.0), ("rms", 120.0), ("thd", 0.5), ("trans", 2.0))
    }
    return Measurement(
        str(box), t_ns // 10**6 + 1000, metrics, t_ns, t_ns + 10**9, 1000, TimeSource.GPS, second + 1, 1
    )


def test_many_messages_are_read_like_single_ones() -> None:
    rows = [measured(box, second) for second in range(3) for box in range(1, 40)]
    rows[5] = replace(rows[5], crossing=True, metrics={"rms": Metric(1, 2, 1.5)})
    rows[9] = replace(rows[9], backfilled=True)
    rows[11] = replace(rows[11], nominal_v=230.0, nominal_hz=50.0, clock_id=7, sequence=None)
    messages = [[topic(row.box_id), measurement_to_wire(row)] for row in rows]
    strange = [[b"0001", b"\xff\xff\xff"], [b"0099", messages[7][1]]]
    messages[20:20] = strange
    for part in (messages, messages[:2], messages[19:22], []):
        found, malformed = live_windows(part)
        good = [frames for frames in part if frames not in strange]
        assert found == [measurement_from_wire(body) for _, body in good]
        assert len(malformed) == len(part) - len(good)


def test_the_hub_keeps_less_of_many_boxes() -> None:
    """The more Boxes there are, the less it keeps of each."""
    assert kept_of_each(1) == kept_of_each(0) == RECENT_MEASUREMENTS
    assert kept_of_each(1000) == KEPT_TOGETHER // 1000 and kept_of_each(10**6) == MIN_KEPT
    recent = RecentMeasurements()
    for second in range(50):
        recent.accept(measured(1, second), 0, kept=20)
    assert [row.sequence for row in recent.rows()] == list(range(31, 51))
    for second in range(50, 60):
        recent.accept(measured(1, second), 0, kept=5)
    assert len(recent.rows()) == 5
