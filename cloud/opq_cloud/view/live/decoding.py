"""Decodes the Measurements of one turn of the reader; their metrics stay packed until they are requested."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite

from opq_proto.errors import ForeignError, FrameError
from opq_proto.measurement.fields import METRIC_NAMES
from opq_proto.measurement.wire import checked_message, is_window, measurement_of
from opq_proto.messages import Measurement, Metric
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement

_ONE, _THREE, _ALL = struct.Struct("=f"), struct.Struct("=3f"), struct.Struct("=12f")
_OFFSETS = {name: place * _THREE.size for place, name in enumerate(METRIC_NAMES)}


def decoded(messages: Sequence[Sequence[bytes]]) -> tuple[list[Measurement], list[FrameError]]:
    """Returns the readable Measurements in their order, and the errors of the others.

    messages: a topic and a Measurement each.
    """
    found: list[Measurement] = []
    malformed: list[FrameError] = []
    for frames in messages:
        try:
            message = checked_message(frames[-1])
            if frames[0].lstrip(b"0") != str(message.box_id or "").encode():
                raise ForeignError(f"Box {message.box_id} in a message of {frames[0]!r}")
            if is_window(message):  # an interval or a disturbance shows nothing live
                found.append(measurement_of(message, _packed(message)))
        except FrameError as error:
            malformed.append(error)
    return found, malformed


class WireMetrics(Mapping[str, Metric]):
    """The four metrics of a Measurement as received; each is decoded when it is requested.

    With 10,000 Boxes, most are never requested.
    """

    __slots__ = ("_floats",)

    def __init__(self, floats: bytes) -> None:
        """`floats`: minimum, maximum and mean of each of METRIC_NAMES, float32 in native byte order."""
        self._floats = floats

    def __getitem__(self, name: str) -> Metric:
        return Metric(*_THREE.unpack_from(self._floats, _OFFSETS[name]))

    def average(self, name: str) -> float:
        """Only the mean. Raises KeyError where there is no such metric."""
        return float(_ONE.unpack_from(self._floats, _OFFSETS[name] + 2 * _ONE.size)[0])

    def __iter__(self) -> Iterator[str]:
        return iter(METRIC_NAMES)

    def __len__(self) -> int:
        return len(METRIC_NAMES)

    def __repr__(self) -> str:
        return repr(dict(self))


def _packed(message: WireMeasurement) -> WireMetrics | None:
    """Returns the metrics of a message that has the four finite ones; None for any other."""
    metrics = message.metrics
    if len(metrics) != len(METRIC_NAMES) or any(name not in metrics for name in METRIC_NAMES):
        return None
    f, rms, thd, trans = (metrics[name] for name in METRIC_NAMES)
    values = (
        f.min,
        f.max,
        f.average,
        rms.min,
        rms.max,
        rms.average,
        thd.min,
        thd.max,
        thd.average,
        trans.min,
        trans.max,
        trans.average,
    )
    return WireMetrics(_ALL.pack(*values)) if isfinite(sum(values)) else None
