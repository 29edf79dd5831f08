"""What no Measurement can state: checked once, where it is read from the wire.

A metric is refused that is infinite, is outside of its quantity's limits (`fields.LIMITS`) or has its
minimum above its maximum; the rest of its Measurement is kept. A Measurement is refused as a whole whose time
or number is impossible. A metric that is NaN throughout is not known. What is refused is counted by name and
Box, so that a Box that states such a thing is seen, and harms no other. `wire.py` reads; this file states
what is wrong.
"""

from collections import Counter
from math import isnan

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import FrameError
from opq_proto.measurement.fields import LIMITS, METRIC_NAMES, MOST_NUMBER, OTHER_LIMITS
from opq_proto.measurement.intervals import LENGTHS_MS
from opq_proto.messages import Metric
from opq_proto.time_units import NS_PER_MS
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement

Refusals = Counter[tuple[str, str]]
"""(Box, name of what was refused) -> how often."""
LATEST_NS = 2**62 - 1
"""Year 2116: a second before or after it still is an int64."""
MAX_AHEAD_NS = 24 * 3600 * 10**9
"""How far a time may be ahead of its arrival: as much as a clock set by hand, or to a wrong time zone.
Nothing is measured after it is sent, while an old time may wait in a queue for days."""
MAX_WINDOW_NS = 120 * 10**9
"""600 cycles, the longest window, take 60 s at 10 Hz. One of years would make every disturbance in
it a part of that one event."""
MAX_METRICS = 500
MAX_NAME = 40
"""Letters of a class, or of the name of a quantity or place, that is read."""
MAX_METRIC_NAME = 140
"""Letters of a metric's name: `rule_`, and the longest id of a rule."""
TIME, AHEAD, LENGTH, NUMBER = "time", "time_ahead", "length", "sequence"
OTHER = "other"
"""Name of what is refused where a metric is not in the table: a Box may not fill a counter with names."""
DISTURBANCE, INTERVAL = "disturbance", "interval"
WORDS = {
    TIME: "a time before 1970, or an end that is not after its beginning",
    AHEAD: "a time more than a day ahead of its arrival",
    LENGTH: "a window longer than 2 minutes, or an interval more than twice its length",
    NUMBER: "a number above 2**62",
    OTHER: f"a metric beyond {OTHER_LIMITS[1]:g}, or with an impossible name",
    DISTURBANCE: "a residual voltage that is not possible",
    INTERVAL: "a value, name or share that is not possible",
}
"""Name of what is refused -> what it was, in words; a metric of the table has its limits instead."""
_SHORT_NS = 2 * LENGTHS_MS[0] * NS_PER_MS
"""No window, interval or disturbance is too long with this, as nearly all are."""
_LEAST, _MOST = (np.array([[LIMITS[name][at]] for name in METRIC_NAMES]) for at in (0, 1))


class RefusedError(FrameError):
    """A Measurement that can be read, and cannot be true.

    Attributes:
        box_id: the Box that sends it.
        what: name of what is wrong, one of WORDS.
        sequence, oldest_sequence: its numbers; None: it has none.
    """

    def __init__(self, message: WireMeasurement, what: str) -> None:
        super().__init__(f"Box {message.box_id}: refused, {refused_words(what)}")
        self.box_id, self.what = str(message.box_id), what
        has = message.HasField
        numbered = what != NUMBER and has("sequence")
        self.sequence = message.sequence if numbered else None
        self.oldest_sequence = message.oldest_sequence if numbered and has("oldest_sequence") else None


def refused_words(what: str) -> str:
    """Returns what was refused under a name, such as `rms not within 0 to 1e+08`."""
    if what in WORDS:
        return WORDS[what]
    least, most = LIMITS.get(what, OTHER_LIMITS)
    return f"{what} not within {least:g} to {most:g}, or its minimum above its maximum"


def wrong_of(message: WireMeasurement, latest_ns: int) -> str:
    """Returns what cannot be true of a Measurement's times and numbers, one of WORDS; "" where nothing is.

    A time that is not stated reads as 0. `latest_ns`: the latest time that is believed.
    """
    start_ns, end_ns, at_ns = message.start_ns, message.end_ns, message.timestamp_ms * NS_PER_MS
    if not (0 <= start_ns <= latest_ns and 0 <= end_ns <= latest_ns and at_ns <= latest_ns):
        return TIME if min(start_ns, end_ns) < 0 or max(start_ns, end_ns, at_ns) > LATEST_NS else AHEAD
    if message.sequence > MOST_NUMBER or message.oldest_sequence > MOST_NUMBER:
        return NUMBER
    if start_ns and 0 < end_ns - start_ns <= _SHORT_NS:
        return ""
    window = is_window(message)
    if start_ns or message.HasField("start_ns"):
        end_ns = end_ns if end_ns or message.HasField("end_ns") else at_ns
        if end_ns <= start_ns:
            return TIME
        if end_ns - start_ns > _longest_ns(message, window):
            return LENGTH
    elif not window:
        return TIME
    return ""


def is_window(message: WireMeasurement) -> bool:
    """Whether it says what was measured in a window, and not an interval, a disturbance or a loss."""
    return not any(map(message.HasField, ("interval", "disturbance", "lost")))


def _longest_ns(message: WireMeasurement, window: bool) -> int:
    """Returns how long it may be; a disturbance lasts as long as it does, and so does a full disk."""
    if window:
        return MAX_WINDOW_NS
    if message.HasField("disturbance") or message.HasField("lost"):
        return LATEST_NS
    length_ms = message.interval.length_ms
    return 2 * (length_ms if length_ms in LENGTHS_MS else LENGTHS_MS[-1]) * NS_PER_MS


def possible_metrics(message: WireMeasurement, refused: Refusals | None = None) -> dict[str, Metric]:
    """Returns the metrics of a message that can be true; counts the others in `refused`."""
    found: dict[str, Metric] = {}
    for key, entry in message.metrics.items():
        limits = LIMITS.get(key)
        least, most = limits or OTHER_LIMITS
        low, high, average = entry.min, entry.max, entry.average
        if (
            least <= low <= high <= most  # NaN is not
            and least <= average <= most
            and (limits is not None or (is_name(key, MAX_METRIC_NAME) and len(found) < MAX_METRICS))
        ):
            found[key] = Metric(low, high, average)
        elif refused is not None and not (isnan(low) and isnan(high) and isnan(average)):
            refused[str(message.box_id), OTHER if limits is None else key] += 1
    return found


def is_name(name: str, most: int = MAX_NAME) -> bool:
    """Whether a store, a page and a rule can have it as a name; `most`: its letters."""
    return 0 < len(name) <= most and name.isprintable() and name[0] != "$"


def impossible(metrics: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Returns (n, 4) which metrics cannot be true; `metrics` as in `batch.Measurements`."""
    within = (metrics >= _LEAST) & (metrics <= _MOST)
    found: NDArray[np.bool_] = ~(within.all(axis=2) & (metrics[:, :, 0] <= metrics[:, :, 1]))
    return found
