"""What the tests of both stores put: rows, waveforms, a trigger and a sag that are stored and come back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from opq_cloud.core.service import CloudContext, ServiceCounters
from opq_cloud.core.settings.config import HealthSection
from opq_cloud.health.collector import HealthCollector
from opq_cloud.health.neighbours import Neighbours
from opq_cloud.health.readings import Answer
from opq_cloud.store.records.accounts.account_records import HEALTH
from opq_proto.decision import Nominal
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.system_record import identity_of
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Finding, Measurement, Metric, TimeSource, Trigger, Waveform

NOW_MS = 1_765_792_486_013
NOW_NS = NOW_MS * 1_000_000
SECOND_NS = 10**9
TRIGGER = Trigger("a" * 30, NOW_NS, NOW_NS + SECOND_NS, ("1", "4"), "1", "threshold: rms 80 V below 114 V")
SAG = Finding(
    "sag",
    "1",
    NOW_NS,
    NOW_NS + 100_000_000,
    1_000_000,
    True,
    84.1,
    70.08333333333333,
    6.0,
    "instantaneous sag",
    "no_interruption_in_function",
    "pass",
    0.9,
    "residual 70.1% for 6 cycles",
    samples_began_ns=NOW_NS - 3_600_000_000_017,
)


def measured(sequence: int | None, box_id: str = "1", **changes: object) -> Measurement:
    at_ms = NOW_MS + 1000 * (sequence or 0)
    rms_v = Metric(118.5, 121.25, 120.125)
    row = Measurement(
        box_id,
        at_ms,
        {"rms": rms_v, "f": Metric(59.5, 60.5, 60.0), "thd": Metric(0.0, 0.5, 0.25)},
        at_ms * 1_000_000 - SECOND_NS,
        at_ms * 1_000_000 + 77,
        1500,
        TimeSource.GPS,
        sequence,
        None if sequence is None else 0,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def wave(box_id: str = "1", samples: int = 2400, **changes: object) -> Waveform:
    counts = (np.arange(samples) % 30_000 - 15_000).astype(np.int16)
    whole = Waveform(box_id, NOW_NS + 5, 900, TimeSource.GPS, 12_000_125, 0.0203, 77_000, counts)
    return replace(whole, **changes)  # type: ignore[arg-type]


def numbered(first: int, count: int, boxes: int = 3) -> Measurements:
    """Numbers from `first` on, `count` of each Box, turn by turn."""
    ids = tuple(str(1 + number) for number in range(boxes))
    which = np.tile(np.arange(boxes), count)
    sequence = np.repeat(np.arange(first, first + count), boxes)
    told_ms = NOW_MS + 1000 * sequence
    metrics = (
        100 + np.arange(12).reshape(4, 3) + which[:, None, None] + sequence[:, None, None] / 64
    ).astype("f4")
    end_ns = told_ms * 1_000_000 - 123_456 + which
    nominals = (Nominal(120.0, 60.0),) * boxes
    plain = Measurements.of_windows(
        ids, nominals, which, end_ns - SECOND_NS, end_ns, metrics, 0, TimeSource.FREE
    )
    return replace(
        plain,
        timestamp_ms=told_ms,
        sequence=sequence,
        oldest_sequence=np.where(which > 0, sequence // 2, -1),
        uncertainty_ns=1000 + which,
        source=which % 4,
        clock_id=np.where(which > 1, 77_000_000_000, 0),
    )


def stored_rows(columns: Measurements) -> list[Measurement]:
    """A store keeps no nominal values: they are the Box's."""
    return [replace(row, nominal_v=None, nominal_hz=None) for row in columns.rows()]


def record_health(shared: CloudContext, folder: Path) -> None:
    """Writes the collection `health` once, with an old document there."""
    neighbours = Neighbours("health", identity_of(folder), [], ServiceCounters())
    collector = HealthCollector(HealthSection(), shared, neighbours, folder, KeyFolder(folder), None)
    now = datetime.now(UTC)
    hours = int((now - timedelta(hours=2)).timestamp() * 1000)
    shared.store.people.documents.add_all(HEALTH, {f"{hours:013d}.0": {"service": "OLD"}}, "")
    part = {"name": "makai", "ok": False, "timestamp": int(now.timestamp()), "info": "no store"}
    box = {"name": "12", "ok": True, "timestamp": int(now.timestamp())}
    collector._shares = {"12": 0.987}
    collector._record([Answer("makai", {**part, "subcomponents": [box]}), Answer("view", None, "refused")])
