"""Converts between the nouns of `opq_proto.messages` and the protobuf frames of Boxes and brokers.

Milliseconds exist only on the original's wire; fields from 1000 on are additions of this project
(proto/opqbox3.proto). Unreadable bytes raise FrameError and nothing else. Waveforms are in
`opq_proto.wire.waveforms` and can be imported from here.
"""

import time
from collections.abc import Mapping, Sequence
from math import isfinite

from google.protobuf.message import EncodeError

from opq_proto.errors import ForeignError, FrameError
from opq_proto.messages import (
    NOMINAL_HZ,
    NOMINAL_V,
    UNKNOWN_UNCERTAINTY_NS,
    Measurement,
    Metric,
    nominal_or_none,
)
from opq_proto.wire.interval_message import (
    read_disturbance,
    read_interval,
    write_disturbance,
    write_interval,
)
from opq_proto.wire.opqbox3_pb2 import Command, Response
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement
from opq_proto.wire.waveforms import (
    CYCLE_SAMPLES,
    box_number,
    read_message,
    time_source,
    waveform_from_frames,
    waveform_to_cycles,
    waveform_to_frames,
)

__all__ = [
    "ACK_PLUGIN",
    "CLAIM_PLUGIN",
    "CYCLE_SAMPLES",
    "UPLINK_PLUGIN",
    "Command",
    "Response",
    "claim_accepted",
    "command_from_wire",
    "data_command",
    "info_command",
    "measurement_from_frames",
    "measurement_from_wire",
    "measurement_to_wire",
    "plugin_command",
    "rate_command",
    "response_from_wire",
    "topic",
    "waveform_from_frames",
    "waveform_to_cycles",
    "waveform_to_frames",
]

ACK_PLUGIN = "opq-ack"
"""Reports which sequences are stored (docs/reference/contracts.md, Acknowledgement); a Box does not answer
it."""
UPLINK_PLUGIN = "opq-uplink"
"""Lets a Box's gateway try another cloud; the message is its addresses and server key as JSON."""
CLAIM_PLUGIN = "opq-claim"
"""Uses a code that the Box's gateway shows; the answer is `claim_accepted` only where the code is right."""
TOPIC_BYTES = 16
"""Longest topic of a Box."""
LARGEST = 2**63 - 1  # what a database's whole number holds; the wire's uint64 goes further
_TIMES_NS = range(2**62)  # 1970 to 2116: a second before or after still is an int64
_TIMES_MS = range(2**62 // 1_000_000)
MAX_WINDOW_NS = 120 * 10**9
"""600 cycles, the longest window, take 60 s at 10 Hz. One of years would make every disturbance in
it a part of that one event."""


def topic(box_id: str) -> bytes:
    """First frame of a measurement: the id as decimal, zero padded to 4 (docs/reference/opq-interop.md
    A.3)."""
    return b"%04d" % box_number(box_id)


def measurement_to_wire(measurement: Measurement) -> bytes:
    """Makes a protobuf Measurement, without values that are not finite and impossible nominal values.

    Raises:
        FrameError: the box id or a time does not fit the wire.
    """
    try:
        message = WireMeasurement(
            box_id=box_number(measurement.box_id), timestamp_ms=measurement.timestamp_ms
        )
        for key, metric in measurement.metrics.items():
            if isfinite(metric.min) and isfinite(metric.max) and isfinite(metric.average):
                entry = message.metrics[key]
                entry.min, entry.max, entry.average = metric.min, metric.max, metric.average
        if measurement.start_ns is not None:
            message.start_ns = measurement.start_ns
        if measurement.end_ns is not None:
            message.end_ns = measurement.end_ns
        if measurement.uncertainty_ns is not None:
            message.uncertainty_ns = min(measurement.uncertainty_ns, UNKNOWN_UNCERTAINTY_NS)
        message.time_source = int(measurement.source)  # type: ignore[assignment]
        if measurement.sequence is not None:
            message.sequence = measurement.sequence
        if measurement.oldest_sequence is not None:
            message.oldest_sequence = measurement.oldest_sequence
        message.backfilled = measurement.backfilled
        message.crossing = measurement.crossing
        if measurement.nominal_v is not None and nominal_or_none(measurement.nominal_v, NOMINAL_V):
            message.nominal_v = measurement.nominal_v
        if measurement.nominal_hz is not None and nominal_or_none(measurement.nominal_hz, NOMINAL_HZ):
            message.nominal_hz = measurement.nominal_hz
        if measurement.clock_id:
            message.clock_id = measurement.clock_id
        if measurement.gateway_id:
            message.gateway_id = measurement.gateway_id
        if measurement.first_sample is not None:
            message.first_sample = measurement.first_sample
        if measurement.samples is not None:
            message.samples = measurement.samples
        if measurement.start_id:
            message.start_id = measurement.start_id
        if measurement.interval is not None:
            write_interval(message.interval, measurement.interval)
        if measurement.disturbance is not None:
            write_disturbance(message.disturbance, measurement.disturbance)
        return message.SerializeToString()
    except (ValueError, TypeError, EncodeError) as error:
        raise FrameError(f"Box {measurement.box_id}: measurement does not fit the wire: {error}") from error


def measurement_from_wire(data: bytes) -> Measurement:
    """Reads a protobuf Measurement, the original's or this project's. Raises FrameError."""
    return measurement_of(checked_message(data))


def checked_message(data: bytes) -> WireMeasurement:
    """Parses a protobuf Measurement.

    Raises:
        FrameError: not a Measurement, empty, a time before 1970 or after 2116, a window longer than
            MAX_WINDOW_NS or a sequence beyond 2**63 - 1.
    """
    if not data:
        raise FrameError("empty measurement")
    message = read_message(WireMeasurement, data)
    start_ns, end_ns = message.start_ns, message.end_ns
    if (
        message.timestamp_ms not in _TIMES_MS
        or start_ns not in _TIMES_NS  # absent reads as 0
        or end_ns not in _TIMES_NS
        or (end_ns - start_ns > MAX_WINDOW_NS and message.HasField("start_ns") and is_window(message))
        or message.sequence > LARGEST
        or message.oldest_sequence > LARGEST
    ):
        raise FrameError(f"Box {message.box_id}: measurement with an impossible time or sequence")
    return message


def is_window(message: WireMeasurement) -> bool:
    """Whether it says what was measured in a window: it is neither an interval nor a disturbance."""
    return not (message.HasField("interval") or message.HasField("disturbance"))


def measurement_of(message: WireMeasurement, metrics: Mapping[str, Metric] | None = None) -> Measurement:
    """Returns what a checked message says. `metrics`: its metrics, where they are read already.

    Metrics that are not finite, impossible nominal values and a clock_id, gateway_id, start_id or
    first_sample beyond 2**63 - 1 are left out; an unknown time source counts as FREE.
    """
    has = message.HasField
    sequence, oldest = message.sequence, message.oldest_sequence
    if metrics is None:
        metrics = found = {}
        for key, entry in message.metrics.items():
            low, high, average = entry.min, entry.max, entry.average
            # the sum is not finite if one of them is not; nearly always this one check is enough
            if isfinite(low + high + average) or (isfinite(low) and isfinite(high) and isfinite(average)):
                found[key] = Metric(low, high, average)
    return Measurement(
        str(message.box_id),
        message.timestamp_ms,
        metrics,
        message.start_ns if has("start_ns") else None,
        message.end_ns if has("end_ns") else None,
        message.uncertainty_ns if has("uncertainty_ns") else None,
        time_source(message.time_source),
        sequence if sequence or has("sequence") else None,
        oldest if oldest or has("oldest_sequence") else None,
        message.backfilled,
        message.crossing,
        nominal_or_none(message.nominal_v, NOMINAL_V),  # absent reads as 0, not believed
        nominal_or_none(message.nominal_hz, NOMINAL_HZ),
        message.clock_id if 0 < message.clock_id <= LARGEST else None,
        message.gateway_id if 0 < message.gateway_id <= LARGEST else None,
        message.first_sample if has("first_sample") and message.first_sample <= LARGEST else None,
        message.samples if has("samples") else None,
        message.start_id if 0 < message.start_id <= LARGEST else None,
        read_interval(message.interval) if has("interval") else None,
        read_disturbance(
            message.disturbance,
            str(message.box_id),
            message.start_ns,
            message.end_ns,
            message.uncertainty_ns if has("uncertainty_ns") else UNKNOWN_UNCERTAINTY_NS,
        )
        if has("disturbance")
        else None,
    )


def measurement_from_frames(frames: Sequence[bytes]) -> Measurement:
    """Reads topic and Measurement as a broker sends them; further frames are ignored.

    A broker compares the sender's key with the topic only.

    Raises:
        FrameError: as `measurement_from_wire`.
        ForeignError: the topic is another Box's.
    """
    if len(frames) < 2:
        raise FrameError(f"{len(frames)} frames; want a topic and a Measurement")
    read = measurement_from_wire(frames[1])
    if frames[0].lstrip(b"0") != read.box_id.lstrip("0").encode():
        raise ForeignError(f"Box {read.box_id} in a message of {frames[0][:TOPIC_BYTES]!r}")
    return read


def command_from_wire(data: bytes) -> Command:
    """The protobuf Command; FrameError if it is not one."""
    return read_message(Command, data)


def response_from_wire(data: bytes) -> Response:
    """The protobuf Response (a response's first frame); FrameError if it is not one."""
    return read_message(Response, data)


def data_command(
    box_id: str,
    start_ns: int,
    end_ns: int,
    identity: str,
    wait: bool = True,
    now_ms: int | None = None,
    stamp: tuple[int, int] | None = None,
    start_id: int | None = None,
) -> bytes:
    """A Command that asks for the samples of [start_ns, end_ns), widened to whole milliseconds.

    `stamp`: a sample, and its time (ns) on the clock of these times; None: of the best clock. `start_id`: the
    start of the Box in which that sample counts; None: not known.
    """
    command = _command(box_id, identity, now_ms)
    try:
        command.data_command.start_ms = start_ns // 1_000_000
        command.data_command.end_ms = -(-end_ns // 1_000_000)
    except ValueError as error:
        raise FrameError(f"Box {box_id}: span {start_ns}..{end_ns} does not fit the wire: {error}") from error
    command.data_command.wait = wait
    if stamp is not None:
        command.data_command.sample, command.data_command.sample_ns = stamp
        if start_id:
            command.data_command.start_id = start_id
    return command.SerializeToString()


def info_command(box_id: str, identity: str) -> bytes:
    """A Command that asks a Box who it is."""
    command = _command(box_id, identity)
    command.info_command.SetInParent()
    return command.SerializeToString()


def rate_command(box_id: str, cycles: int, identity: str) -> bytes:
    """A Command that sets the cycles per Measurement."""
    command = _command(box_id, identity)
    try:
        command.sampling_rate_command.measurement_window_cycles = cycles
    except ValueError as error:
        raise FrameError(f"Box {box_id}: {cycles} cycles do not fit the wire: {error}") from error
    return command.SerializeToString()


def plugin_command(box_id: str, plugin_name: str, message: str, identity: str) -> bytes:
    """A Command for a plug-in of the Box, e.g. ACK_PLUGIN."""
    command = _command(box_id, identity)
    command.send_command_to_plugin.plugin_name = plugin_name
    command.send_command_to_plugin.message = message
    return command.SerializeToString()


def claim_accepted(box_id: str) -> str:
    """Returns `detail` of the answer to CLAIM_PLUGIN; an original Box answers ok to all, without `detail`."""
    return f"Box {box_id} is claimed by this code"


def _command(box_id: str, identity: str, now_ms: int | None = None) -> Command:
    created_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    try:
        return Command(box_id=box_number(box_id), timestamp_ms=created_ms, identity=identity)
    except (ValueError, TypeError) as error:
        raise FrameError(f"Box {box_id}: command does not fit the wire: {error}") from error
