"""What the benches of the store put into it: drawn metrics, and one Box's trends with their levels."""

import random
import time

from bench.harness.result import BenchCase, case
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_proto.messages import TREND_MS, Metric, Trend
from opq_proto.time_units import DAY_MS as DAY_MS

NOW_MS = 1_767_225_600_000


def drawn_metrics(draw: random.Random) -> dict[str, Metric]:
    """Metrics with numbers that fit a 32-bit float, as on the wire."""
    volts = 120 + draw.randint(-64, 64) / 64
    hz = 60 + draw.randint(-16, 16) / 1024
    return {
        "rms": Metric(volts - 0.5, volts + 0.5, volts),
        "f": Metric(hz - 1 / 256, hz + 1 / 256, hz),
        "thd": Metric(1 / 64, 3 / 64, draw.randint(2, 3) / 64),
        "trans": Metric(1.0, 3.0, 2.0),
    }


def filled(store: EmbeddedStore, days: int) -> list[BenchCase]:
    """Fills the store with one Box's minutes and rolls them up; rows of the cost."""
    draw = random.Random(2)
    pool = [{key: (m.min, m.max, m.average) for key, m in drawn_metrics(draw).items()} for _ in range(997)]
    minutes = days * 1440
    began_s = time.process_time()
    for first in range(0, minutes, 5000):
        places = range(first, min(first + 5000, minutes))
        store.put_trends(
            Trend("1", NOW_MS - (minutes - k) * TREND_MS, pool[k % 997], covered_ms=TREND_MS) for k in places
        )
    put_s = time.process_time() - began_s
    while store.roll_up(NOW_MS + 2 * DAY_MS, slice_rows=500):
        pass
    rolled_s = time.process_time() - began_s - put_s
    while store.expire(NOW_MS // 1000, slice_rows=50_000):  # as retained: 90 days of minutes, then hours
        pass
    return [
        case("a minute put: CPU", "us", [put_s / minutes * 1e6]),
        case("a minute rolled up into all levels: CPU", "us", [rolled_s / minutes * 1e6]),
    ]
