"""A Box's Urms(1/2) during dips and swells, from its gateway's ledger, as a table."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from opq_proto.errors import OpqError
from opq_proto.messages import known_uncertainty_ns
from opq_proto.wire.command_client import CommandClient
from opq_proto.wire.frames import HALF_CYCLES_PLUGIN, plugin_command
from opq_proto.wire.half_cycles import (
    HalfCycleRms,
    half_cycles_from_wire,
    half_cycles_question,
)

HEADER = "time_ns,least_v,most_v,half_cycles\n"
MAX_ANSWERS = 200
"""Each answer covers four hours, or the whole requested span."""


class NoHalfCyclesError(OpqError):
    """The Box's gateway stores no half cycles, or refuses the request."""


def fetch_half_cycles(
    client: CommandClient, box_id: str, span_ns: tuple[int, int], timeout_s: float
) -> Iterator[HalfCycleRms]:
    """Yields the gateway's answers for [start, end) one after the other; an answer may be empty.

    Raises:
        NoHalfCyclesError: an original Box, a gateway without half cycles, a refusal, or too many answers.
        UnansweredError, FrameError: no answer, or one that cannot be read.
    """
    start_ns, end_ns = span_ns
    if end_ns <= start_ns:
        raise NoHalfCyclesError("--to is not after --from")
    for _ in range(MAX_ANSWERS):
        question = half_cycles_question(start_ns, end_ns)
        command = plugin_command(box_id, HALF_CYCLES_PLUGIN, question, client.identity)
        answer = client.send_command(command, timeout_s).command_to_plugin_response
        if not answer.HasField("half_cycles"):
            why = answer.detail or "its gateway keeps no half cycles"
            raise NoHalfCyclesError(f"Box {box_id}: {why}")
        found = half_cycles_from_wire(box_id, answer.half_cycles)
        yield found
        if not start_ns < found.end_ns < end_ns:
            return
        start_ns = found.end_ns
    raise NoHalfCyclesError(f"Box {box_id}: more than {MAX_ANSWERS} answers; ask for a shorter span")


def facts_of(answers: Sequence[HalfCycleRms]) -> dict[str, Any]:
    """Extremes and number of points of all answers; None where there are no points."""
    known = [each for each in answers if len(each.t_ns)]
    return {
        "box_id": answers[0].box_id,
        "start_ns": answers[0].start_ns,
        "end_ns": answers[-1].end_ns,
        "points": sum(len(each.t_ns) for each in known),
        "half_cycles_in_a_point": max((each.every for each in known), default=1),
        "first_ns": int(known[0].t_ns[0]) if known else None,
        "last_ns": int(known[-1].t_ns[-1]) if known else None,
        "least_v": min((float(each.least_v.min()) for each in known), default=None),
        "most_v": max((float(each.most_v.max()) for each in known), default=None),
        "uncertainty_ns": known_uncertainty_ns(max((each.uncertainty_ns for each in known), default=None)),
        "time_source": min(each.source for each in known).name.lower() if known else None,
    }


def write_table(path: Path, answers: Sequence[HalfCycleRms]) -> None:
    """Writes all points as CSV: UTC in ns at the middle of a point's first cycle, volts, half cycles in it.

    Raises:
        NoHalfCyclesError: the file cannot be written.
    """
    try:
        with path.open("w", encoding="ascii") as file:
            file.write(HEADER)
            for each in answers:
                for t_ns, least_v, most_v in zip(each.t_ns, each.least_v, each.most_v, strict=True):
                    file.write(f"{t_ns},{least_v:.4f},{most_v:.4f},{each.every}\n")
    except OSError as error:
        raise NoHalfCyclesError(f"{path}: cannot be written: {error.strerror or error}") from error
