"""A Box's samples of a span, from its gateway's ring, as a recording: FILE.i16 with FILE.json."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opq_proto.errors import OpqError
from opq_proto.messages import Waveform, known_uncertainty_ns
from opq_proto.wire.command_client import CommandClient
from opq_proto.wire.frames import Response, data_command, waveform_from_frames

LONGEST_WAIT_S = 60.0
"""Longest time that a gateway waits for the end of a span (gateway/README.md)."""


class NoSamplesError(OpqError):
    """The Box has no samples of the span, or the span cannot be requested."""


def fetch_waveform(
    client: CommandClient, box_id: str, span_ns: tuple[int, int], timeout_s: float, wait: bool
) -> tuple[Response, Waveform]:
    """Requests the samples of [start, end).

    Args:
        wait: wait for an end that is still in the future; the answer comes later by that time.
    Raises:
        NoSamplesError: the span is empty, ends too far in the future, or the gateway holds no sample of it.
        UnansweredError, FrameError: no answer, one that cannot be read, or an unknown gain.
    """
    start_ns, end_ns = span_ns
    if end_ns <= start_ns:
        raise NoSamplesError("--to is not after --from")
    ahead_s = (end_ns - round(datetime.now(UTC).timestamp() * 1e9)) / 1e9
    if wait and ahead_s > LONGEST_WAIT_S:
        raise NoSamplesError(f"--to is {ahead_s:.0f} s ahead; want {LONGEST_WAIT_S:.0f} s at most")
    command = data_command(box_id, start_ns, end_ns, client.identity, wait)
    frames = client.send_for_frames(command, timeout_s + (max(0.0, ahead_s) if wait else 0.0))
    response, wave = waveform_from_frames(frames[0], frames[1:])
    if wave is None:
        reasons = "; ".join(gap.reason for gap in response.get_data_response.gap)
        raise NoSamplesError(f"Box {box_id}: no samples of this span" + (f": {reasons}" if reasons else ""))
    return response, wave


def write_recording(path: Path, response: Response, wave: Waveform) -> dict[str, Any]:
    """Writes both files; returns the facts of the .json."""
    facts: dict[str, Any] = {
        "box_id": wave.box_id,
        "rate_hz": wave.rate_hz,
        "volts_per_lsb": wave.v_per_lsb,
        "start_ns": wave.start_ns,
        "uncertainty_ns": known_uncertainty_ns(wave.uncertainty_ns),
        "time_source": wave.source.name.lower(),
        "samples": len(wave.counts),
        "first_sample": wave.first_sample,
        "gaps": [
            {"first_sample": gap.first_sample, "samples": gap.samples, "reason": gap.reason}
            for gap in response.get_data_response.gap
        ],
    }
    try:
        path.write_bytes(wave.counts.astype("<i2").tobytes())
        path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise NoSamplesError(f"{path}: cannot be written: {error.strerror or error}") from error
    return facts
