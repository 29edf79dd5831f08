"""Evaluates the extent of an answer, and whether another request can bring more.

A Box of ours names the samples that it does not have and why; only those that were not sampled yet, or were
too long for one answer, are requested again, and what it neither sends nor names. Its times may be those of
another clock than the request's (`moved_ns`): the Box's was set meanwhile. An original Box names nothing: it
cuts a range that ends in its future (docs/reference/opq-interop.md H.12), and its samples end with the last
whole window before the end (G.5). Pure.
"""

from dataclasses import dataclass

from opq_proto.messages import Waveform
from opq_proto.time_units import NS_PER_MS
from opq_proto.wire.frames import Response
from opq_proto.wire.opqbox3_pb2 import GetDataResponseHeader
from opq_proto.wire.waveforms import NOT_SAMPLED_YET, REQUEST_TOO_LONG

WINDOW_SLACK_NS = 50 * NS_PER_MS
"""An original Box's last window begins up to 17 ms before the end and is stamped when it is read."""
UNNAMED_SLACK_NS = 50 * NS_PER_MS
"""Less than this may be lacking at the two ends together: a Cycle at each, at 50 Hz and below."""
CLOCK_KNOWN_MS = 86_400_000
"""A clock in the answer that is this far from the requested time is not used."""


@dataclass(frozen=True, slots=True)
class DataAnswer:
    """An answer to a data command, with the token and the instance of its request."""

    token: str
    instance: str
    box_id: str
    response: Response
    wave: Waveform | None


@dataclass(frozen=True, slots=True)
class AnswerReach:
    """The extent of an answer, and why it ends there."""

    reach_ns: int
    short: str | None
    """Why another request may bring more; None if the answer is complete."""
    ours: bool
    """Sent by a Box that names what it lacks; an original Box's answer may stay short for ever."""


def reach_of(response: Response, wave: Waveform | None, start_ns: int, end_ns: int) -> AnswerReach:
    """Evaluates the answer to a request for [start_ns, end_ns).

    Args:
        response: to a data command.
        wave: its samples; None when it has none.
    """
    header = response.get_data_response
    reach_ns = start_ns if wave is None else wave.end_ns - header.moved_ns
    ours = bool(header.gap) or any(
        header.HasField(name) for name in ("volts_per_lsb", "rate_millihz", "available_start_ns")
    )
    if ours:
        again = [gap.reason for gap in header.gap if gap.reason in (NOT_SAMPLED_YET, REQUEST_TOO_LONG)]
        if again:
            return AnswerReach(reach_ns, again[0], True)
        unnamed_ns = 0 if wave is None else _unnamed_ns(header, wave, start_ns, end_ns)
        if unnamed_ns > UNNAMED_SLACK_NS:
            ms = unnamed_ns // NS_PER_MS
            return AnswerReach(start_ns, f"{ms} ms of the span were neither sent nor named as missing", False)
        return AnswerReach(end_ns, None, True)
    if wave is None:
        clock_ms, end_ms = response.timestamp_ms, end_ns // NS_PER_MS
        sampling = end_ms - CLOCK_KNOWN_MS < clock_ms < end_ms
        why = "no samples of this span yet" if sampling else None
        return AnswerReach(reach_ns, why, False)
    missing_ns = end_ns - reach_ns
    if missing_ns <= WINDOW_SLACK_NS:
        return AnswerReach(reach_ns, None, False)
    return AnswerReach(reach_ns, f"ends {missing_ns // NS_PER_MS} ms early, without a reason", False)


def lacking_at_ends(response: Response, wave: Waveform | None, first: bool = True) -> str:
    """Returns the parts that a Box of ours names as missing before and after its samples; "" for none.

    The waveform itself names what is missing within it.

    Args:
        first: no earlier part of the span is here, which the samples continue.
    """
    if wave is None:
        return ""
    end = wave.first_sample + len(wave.counts) + sum(gap.samples for gap in wave.gaps)
    found = []
    for gap in response.get_data_response.gap:
        if gap.samples and gap.reason not in (NOT_SAMPLED_YET, REQUEST_TOO_LONG):
            ms = gap.samples * 10**6 / wave.rate_millihz
            if first and gap.first_sample < wave.first_sample:
                found.append(f"the first {ms:.1f} ms are missing: {gap.reason}")
            elif gap.first_sample >= end:
                found.append(f"the last {ms:.1f} ms are missing: {gap.reason}")
    return "; ".join(found)


def _unnamed_ns(header: GetDataResponseHeader, wave: Waveform, start_ns: int, end_ns: int) -> int:
    """How much of [start_ns, end_ns) is neither among the samples of an answer nor in a gap that it names."""

    def place(t_ns: int) -> int:
        since_ns = t_ns + header.moved_ns - wave.start_ns
        return wave.first_sample + since_ns * wave.rate_millihz // 10**12

    position, end = place(start_ns), place(end_ns)
    held = [(run.first_sample, run.first_sample + len(run.counts)) for run in wave.runs()]
    named = [(gap.first_sample, gap.first_sample + gap.samples) for gap in header.gap]
    lacking = 0
    for first, last in sorted([*held, *named, (end, end)]):
        lacking += max(0, min(first, end) - position)
        position = max(position, last)
    return lacking * 10**12 // wave.rate_millihz
