"""What came of an answer: how far it reaches, and whether asking again can bring more.

A Box of ours names what it does not have and why; only what was not sampled yet, or was too long for one
answer, is asked for again. An original Box names nothing: it cuts a range that ends in its future
(opq-interop H.12), and what it has ends with the last whole window before the end (G.5). Pure.
"""

from dataclasses import dataclass

from opq_proto.decision import NS_PER_MS
from opq_proto.messages import Waveform
from opq_proto.wire import Response
from opq_proto.wire_waveforms import NOT_SAMPLED_YET, REQUEST_TOO_LONG

WINDOW_SLACK_NS = 50 * NS_PER_MS
"""An original Box's last window begins up to 17 ms before the end and is stamped when it is read."""
CLOCK_KNOWN_MS = 86_400_000
"""The clock of an answer this far from what was asked for says nothing."""


@dataclass(frozen=True, slots=True)
class AnswerReach:
    """How far an answer goes, and why no further."""

    reach_ns: int
    short: str | None
    """Why asking again may bring more; None: this is all that there is."""
    ours: bool
    """Sent by a Box that says what it lacks; an original Box's may be short for ever."""


def reach_of(response: Response, wave: Waveform | None, start_ns: int, end_ns: int) -> AnswerReach:
    """What the answer to [start_ns, end_ns) comes to.

    Args:
        response: of a data command.
        wave: its samples; None when it has none.
    """
    header = response.get_data_response
    reach_ns = start_ns if wave is None else wave.end_ns
    ours = bool(header.gap) or any(
        header.HasField(name) for name in ("volts_per_lsb", "rate_millihz", "available_start_ns")
    )
    if ours:
        again = [gap.reason for gap in header.gap if gap.reason in (NOT_SAMPLED_YET, REQUEST_TOO_LONG)]
        return AnswerReach(reach_ns if again else end_ns, again[0] if again else None, True)
    if wave is None:
        clock_ms, end_ms = response.timestamp_ms, end_ns // NS_PER_MS
        sampling = end_ms - CLOCK_KNOWN_MS < clock_ms < end_ms
        why = "no samples of this span yet" if sampling else None
        return AnswerReach(reach_ns, why, False)
    missing_ns = end_ns - reach_ns
    if missing_ns <= WINDOW_SLACK_NS:
        return AnswerReach(reach_ns, None, False)
    return AnswerReach(reach_ns, f"ends {missing_ns // NS_PER_MS} ms early, without a reason", False)
