"""Waveforms on the wire: a Response header, then Cycles of 200 samples, one per frame.

Cycles of this project have the number of their first sample, so that a gap is found and named. Those of an
original Box have only the time when each was read, and are taken as contiguous. Source:
docs/reference/opq-interop.md A.5, B.1; docs/reference/contracts.md.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from opq_proto.errors import FrameError
from opq_proto.kit.plain_text import one_line
from opq_proto.messages import (
    GAIN_V,
    NOMINAL_HZ,
    NOMINAL_V,
    UNKNOWN_UNCERTAINTY_NS,
    Gap,
    TimeSource,
    Waveform,
    nominal_or_none,
)
from opq_proto.wire.opqbox3_pb2 import Cycle, GetDataResponseHeader, Response
from opq_proto.wire.packed_counts import packed_rows, varint

CYCLE_SAMPLES = 200
"""A Cycle has 200 samples at 50 Hz too."""
ORIGINAL_RATE_MILLIHZ = 12_000_000
"""An original Box samples at 12 kS/s (docs/reference/opq-interop.md G.3) and does not say so."""

NOT_SAMPLED_YET = "not sampled yet when the answer was due"
REQUEST_TOO_LONG = "the request is longer than one answer may be"
"""Reasons of a gap after an answer whose samples a second request may get."""

MAX_SPAN_SAMPLES = 10**10
"""Samples from the first to the last of one answer: nine days at 12 kS/s; more is a broken index."""
MAX_REASON = 200
"""Letters of a gap's reason that are read."""
MOST_MOVED_NS = 2**61
"""A clock that is set from 1970 to 2043 moves by less."""
LARGEST_ID = 2**63 - 1
"""What a database's whole number holds; the wire's uint64 goes further."""
_RATES_MILLIHZ = range(1_000, 10**10 + 1)  # 1 S/s to 10 MS/s
_TIMES_NS = range(-(2**62), 2**62)  # years 1823 to 2116

AnyMessage = TypeVar("AnyMessage", bound=Message)


_SOURCES = {int(source): source for source in TimeSource}  # a look-up: each Measurement needs one


def box_number(box_id: str) -> int:
    """The box id as the wire's whole number, 0 .. 2**31 - 1 (Command has int32)."""
    if not (box_id.isascii() and box_id.isdigit()) or int(box_id[:11]) >= 2**31:
        raise FrameError(f"box id is {box_id!r}; want a whole number from 0 to {2**31 - 1}")
    return int(box_id)


def time_source(number: int) -> TimeSource:
    """Returns the TimeSource of a wire number; an unknown one counts as FREE."""
    return _SOURCES.get(number, TimeSource.FREE)


def read_message(kind: type[AnyMessage], data: bytes) -> AnyMessage:
    """Parse `data`; FrameError when it is no `kind`."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise FrameError(f"{len(data)} bytes are not a {kind.DESCRIPTOR.name}: {error}") from error


def waveform_to_cycles(wave: Waveform) -> list[bytes]:
    """Cycles of each contiguous run; what is left of a run below 200 samples is not sent."""
    return [frame for _, frame in _cycles(wave)]


def waveform_to_frames(
    wave: Waveform | None,
    box_id: str,
    seq: int,
    timestamp_ms: int,
    available_start_ns: int | None = None,
    available_end_ns: int | None = None,
) -> list[bytes]:
    """Returns the whole answer to a data command: header, then Cycles; header 0/0 where there is nothing.

    The header has the waveform's gaps, gain, rate and start, and the span that the Box still has.
    """
    header = GetDataResponseHeader()
    cycles = [] if wave is None else _cycles(wave)
    if cycles:
        header.start_ts, header.end_ts = cycles[0][0], cycles[-1][0]
    if wave is not None:
        header.volts_per_lsb = wave.v_per_lsb
        header.rate_millihz = wave.rate_millihz
        if wave.start_id:
            header.start_id = wave.start_id
        if wave.nominal_v is not None:
            header.nominal_v = wave.nominal_v
        if wave.nominal_hz is not None:
            header.nominal_hz = wave.nominal_hz
        for gap in wave.gaps:
            header.gap.add(first_sample=gap.first_sample, samples=gap.samples, reason=gap.reason)
    if available_start_ns is not None:
        header.available_start_ns = available_start_ns
    if available_end_ns is not None:
        header.available_end_ns = available_end_ns
    response = Response(
        box_id=box_number(box_id), seq=seq, timestamp_ms=timestamp_ms, get_data_response=header
    )
    return [response.SerializeToString(), *(frame for _, frame in cycles)]


def _cycles(wave: Waveform) -> list[tuple[int, bytes]]:
    """Time stamp (ms) and frame of each Cycle; its few numbers by protobuf, its counts many at once."""
    cycles = []
    rest = Cycle(
        uncertainty_ns=min(wave.uncertainty_ns, UNKNOWN_UNCERTAINTY_NS),
        time_source=int(wave.source),  # type: ignore[arg-type]
    )
    for run in wave.runs():
        for number, counts in enumerate(packed_rows(run.counts, CYCLE_SAMPLES)):
            start = number * CYCLE_SAMPLES
            timestamp_ms = (run.time_ns(start + CYCLE_SAMPLES) + 500_000) // 1_000_000
            rest.timestamp_ms = timestamp_ms
            rest.start_ns = run.time_ns(start)
            rest.first_sample = run.first_sample + start
            frame = b"".join((_DATAPOINTS, varint(len(counts)), counts, rest.SerializeToString()))
            cycles.append((timestamp_ms, frame))
    return cycles


_DATAPOINTS = bytes([Cycle.DATAPOINTS_FIELD_NUMBER << 3 | 2])
"""Key of the packed field, which has the lowest number and so stands first."""


def waveform_from_frames(
    header: bytes, cycles: Sequence[bytes], v_per_lsb_fallback: float | None = None
) -> tuple[Response, Waveform | None]:
    """The Response and the samples after it; None when it has none (or answers something else).

    For Boxes of this project the time is the first Cycle's, with the largest uncertainty of all; missing
    samples between Cycles are gaps with the header's reason; Cycles that came twice count once. For an
    original Box Cycles are contiguous, the time of sample 0 is the first Cycle's time stamp minus its
    length, the source is FREE with unknown uncertainty, the rate 12 kS/s. Where its clock was set back, its
    answer holds Cycles of both clocks: those of the later one count.

    Args:
        v_per_lsb_fallback: gain of a Box that does not say its own, or says one that cannot be true.
    Raises:
        FrameError: a frame is not a Response or no Cycle, a sample is outside int16, our time
            fields are on some Cycles only, a time, rate or index is impossible, or the gain is
            not known.
    """
    response = read_message(Response, header)
    if response.WhichOneof("response") != "get_data_response":
        return response, None
    _check_header(response.box_id, response.get_data_response)
    read = [cycle for cycle in (read_message(Cycle, data) for data in cycles) if cycle.datapoints]
    if not read:
        return response, None
    data = response.get_data_response
    has_gain = data.HasField("volts_per_lsb") and GAIN_V[0] <= data.volts_per_lsb <= GAIN_V[1]
    v_per_lsb = data.volts_per_lsb if has_gain else v_per_lsb_fallback
    if v_per_lsb is None:
        raise FrameError(f"Box {response.box_id}: volts_per_lsb is not sent and no calibration is known")
    rate_millihz = data.rate_millihz if data.HasField("rate_millihz") else ORIGINAL_RATE_MILLIHZ
    if rate_millihz not in _RATES_MILLIHZ:
        raise FrameError(
            f"Box {response.box_id}: rate_millihz is {rate_millihz}; want 1_000 to 10_000_000_000"
        )
    ours = {cycle.HasField("first_sample") and cycle.HasField("start_ns") for cycle in read}
    if len(ours) > 1:
        raise FrameError(f"Box {response.box_id}: some Cycles have first_sample and start_ns, some not")
    box_id = str(response.box_id)
    if ours == {True}:
        return response, _ours(box_id, data, read, v_per_lsb, rate_millihz)
    set_back = [at for at in range(1, len(read)) if read[at].timestamp_ms < read[at - 1].timestamp_ms]
    read = read[set_back[-1] :] if set_back else read
    counts = np.concatenate([_counts(cycle) for cycle in read])
    end_ms = read[0].timestamp_ms or data.start_ts
    length_ns = len(read[0].datapoints) * 10**12 // rate_millihz
    start_ns = end_ms * 1_000_000 - length_ns
    if start_ns not in _TIMES_NS:
        raise FrameError(f"Box {response.box_id}: Cycle with the impossible time {end_ms} ms")
    return response, Waveform(
        box_id,
        start_ns,
        UNKNOWN_UNCERTAINTY_NS,
        TimeSource.FREE,
        rate_millihz,
        v_per_lsb,
        0,
        counts,
        numbered=False,
    )


def _check_header(box_id: int, header: GetDataResponseHeader) -> None:
    """Shortens the reasons of gaps to a line. Raises FrameError: numbers that no Box can have."""
    numbers = [number for gap in header.gap for number in (gap.first_sample, gap.samples)]
    if abs(header.moved_ns) > MOST_MOVED_NS or max(numbers, default=0) > LARGEST_ID // 4:
        raise FrameError(f"Box {box_id}: an answer with an impossible gap or setting of the clock")
    for gap in header.gap:
        gap.reason = one_line(gap.reason)[:MAX_REASON]


def _ours(
    box_id: str, header: GetDataResponseHeader, cycles: list[Cycle], v_per_lsb: float, rate_millihz: int
) -> Waveform:
    cycles.sort(key=lambda cycle: cycle.first_sample)
    first, last = cycles[0], cycles[-1]
    if last.first_sample - first.first_sample > MAX_SPAN_SAMPLES or last.first_sample >= 2**62:
        raise FrameError(f"Box {box_id}: Cycles from sample {first.first_sample} to {last.first_sample}")
    if first.start_ns not in _TIMES_NS:
        raise FrameError(f"Box {box_id}: Cycle with the impossible start_ns {first.start_ns}")
    parts: list[NDArray[np.int16]] = []
    gaps: list[Gap] = []
    position = first.first_sample
    for cycle in cycles:
        missing = cycle.first_sample - position
        if missing < 0:
            continue  # came twice
        if missing > 0:
            gaps.append(Gap(position, missing, _reason(header, position, missing)))
        parts.append(_counts(cycle))
        position = cycle.first_sample + len(parts[-1])
    uncertain = (c.uncertainty_ns if c.HasField("uncertainty_ns") else UNKNOWN_UNCERTAINTY_NS for c in cycles)
    return Waveform(
        box_id=box_id,
        start_ns=first.start_ns,
        uncertainty_ns=max(uncertain),
        source=time_source(first.time_source),
        rate_millihz=rate_millihz,
        v_per_lsb=v_per_lsb,
        first_sample=first.first_sample,
        counts=np.concatenate(parts),
        gaps=tuple(gaps),
        start_id=header.start_id if 0 < header.start_id <= LARGEST_ID else None,
        nominal_v=nominal_or_none(header.nominal_v, NOMINAL_V),  # absent reads as 0, not believed
        nominal_hz=nominal_or_none(header.nominal_hz, NOMINAL_HZ),
    )


def _counts(cycle: Cycle) -> NDArray[np.int16]:
    wide = np.array(cycle.datapoints, dtype=np.int64)
    if wide.min() < -32768 or wide.max() > 32767:
        raise FrameError(f"Cycle with a sample outside int16: {wide.min()} .. {wide.max()}")
    return wide.astype(np.int16)


def _reason(header: GetDataResponseHeader, first: int, samples: int) -> str:
    for gap in header.gap:
        if gap.first_sample < first + samples and first < gap.first_sample + gap.samples:
            return gap.reason
    return "not received"
