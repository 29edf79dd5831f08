"""Another meter's values as one line more of `/past` (docs/intervals.md, "Another meter beside ours")."""

import numpy as np

from opq_cloud.store.store import CloudStore
from opq_cloud.view.pages.past.quantities import PastQuantity
from opq_cloud.view.pages.past.reading import PastSeries, spread_of
from opq_cloud.view.web.time_span import TimeSpan


def meter_line(
    store: CloudStore, meter: str, quantity: PastQuantity, span: TimeSpan, rows: int, nominal_v: float | None
) -> PastSeries:
    """The meter's values in at most `rows` rows.

    Args:
        nominal_v: voltages are in percent of it; None: in volts.
    """
    limits_s = -(-span.start_ms // 1000), -(-span.end_ms // 1000)
    name = quantity.interval if quantity.place is None else ""
    found = store.meter_values(meter, name, *limits_s) if name else []
    known = [each for each in found if each.value is not None]
    at_s = np.array([each.time_s for each in known], np.int64)
    factor = 100 / nominal_v if nominal_v and name == "rms_v" else quantity.factor
    three = np.array(
        [
            [each.value if one is None else one for one in (each.least, each.value, each.most)]
            for each in known
        ],
        np.float64,
    ).reshape(-1, 3)
    shortest_s = int(np.median(np.diff(at_s))) if len(at_s) > 1 else 1
    step_ms = 1000 * max(1, shortest_s, -(-span.length_ms // (1000 * max(1, rows))))
    places = at_s * 1000 // step_ms
    firsts = np.flatnonzero(np.diff(places, prepend=-1))
    counts = np.diff(np.append(firsts, len(places)))
    mean = np.add.reduceat(three[:, 1], firsts) / counts if len(firsts) else np.empty(0)
    low = np.minimum.reduceat(three[:, 0], firsts) if len(firsts) else np.empty(0)
    high = np.maximum.reduceat(three[:, 2], firsts) if len(firsts) else np.empty(0)
    coverage = np.minimum(1.0, counts * shortest_s * 1000 / step_ms)
    return PastSeries(
        f"Meter {meter}",
        (),
        "another meter" if len(firsts) else "",
        step_ms,
        places[firsts] * step_ms,
        low * factor,
        mean * factor,
        high * factor,
        coverage,
        np.zeros(len(firsts), np.bool_),
        span.start_ms,
        span.end_ms,
        spread_of(mean * factor, coverage),
    )
