"""MicroPython's prompt on a Box, by script: what is typed, and what it printed."""

from collections.abc import Sequence

from opq_hil.backends.backend import Run
from opq_hil.world import NS
from opq_proto.link_messages import Command, LinkMessage, Operation

LINE_NS = NS // 20
COMMAND_ID = 900


def typed(start_ns: int, lines: Sequence[str]) -> tuple[tuple[int, LinkMessage | bytes], ...]:
    """For `World.said`: ask for the prompt, then type lines, one each LINE_NS. Only a reset ends it."""
    ask = (start_ns, Command(COMMAND_ID, Operation.REPL))
    keys = (
        (start_ns + NS // 2 + number * LINE_NS, (line + "\r").encode()) for number, line in enumerate(lines)
    )
    return (ask, *keys)


def printed(run: Run, mark: str) -> list[str]:
    """What stood behind `mark` on lines that the prompt printed (not on those that were typed)."""
    lines = run.capture.data.decode("latin-1").splitlines()
    return [line.removeprefix(mark) for line in lines if line.startswith(mark)]
