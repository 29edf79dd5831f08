"""Brings a Box to a state such as "sampling" or "sampling, locked", whatever runs it.

A state is a condition on the received messages. In a played world, the world itself must lead to the state,
and `when` returns the time at which it was reached. On a live line, `reach` does what is needed and waits.
Parts of a state hold together: "sampling, locked" is both.
"""

from collections.abc import Callable, Mapping, Sequence

from opq_hil.world.capture import TimedMessage
from opq_hil.world.line import BenchLine, NoAnswerError
from opq_proto.errors import OpqError
from opq_proto.link.messages import Acknowledgement, GpsState, GpsStatus, Hello, Operation, Samples

REPEAT_S = 1.0
Condition = Callable[[TimedMessage], bool | None]


class NotReachedError(OpqError):
    """A Box did not get into a state; the text says how far it came."""


def _clock(state: GpsState) -> Condition:
    def condition(received: TimedMessage) -> bool | None:
        return received.message.state is state if isinstance(received.message, GpsStatus) else None

    return condition


def _once(kind: type) -> Condition:
    return lambda received: True if isinstance(received.message, kind) else None


STATES: Mapping[str, Condition] = {
    "running": _once(Hello),
    "sampling": _once(Samples),
    "free": _clock(GpsState.FREE),
    "acquiring": _clock(GpsState.ACQUIRING),
    "locked": _clock(GpsState.LOCKED),
    "holdover": _clock(GpsState.HOLDOVER),
}
"""State -> what a message shows about it: True, False, or None (nothing)."""


def named(state: str) -> tuple[str, ...]:
    """Splits a state's name into its parts.

    Raises:
        ValueError: a part is unknown; the text lists all states.
    """
    parts = tuple(part.strip() for part in state.split(","))
    unknown = [part for part in parts if part not in STATES]
    if unknown:
        raise ValueError(f"state {', '.join(unknown)}: unknown; there are {', '.join(STATES)}")
    return parts


def when(received: Sequence[TimedMessage], state: str, after_ns: int = 0) -> int:
    """Virtual time at which all parts of a state first held together.

    Raises:
        NotReachedError: they never did.
    """
    parts = named(state)
    holds = dict.fromkeys(parts, False)
    ever: set[str] = set()
    for entry in received:
        if entry.t_ns < after_ns:
            continue
        for part in parts:
            reached = STATES[part](entry)
            if reached is not None:
                holds[part] = reached
        ever |= {part for part, true in holds.items() if true}
        if all(holds.values()):
            return entry.t_ns
    missing = [part for part in parts if part not in ever]
    raise NotReachedError(
        f"{state!r} not reached in {len(received)} messages: "
        + (f"never {', '.join(missing)}" if missing else "each part, but never together")
    )


def reach(line: BenchLine, state: str, timeout_s: float = 60.0) -> None:
    """Brings a live Box to a state: requests its hello until it answers, then waits for the rest, in the
    Box's time.

    Raises:
        NotReachedError, NoAnswerError: the state was not reached.
    """
    parts = named(state)
    if "running" in parts or "sampling" in parts:
        _wake(line, timeout_s)
        if "sampling" in parts:
            line.wait_for(Samples, timeout_s)
    clocks = [part for part in parts if part not in ("running", "sampling")]
    if clocks:
        line.wait_for(
            GpsStatus, timeout_s, lambda status: all(status.state.name.lower() == name for name in clocks)
        )


def _wake(line: BenchLine, timeout_s: float) -> None:
    """Requests its hello until the Box answers one of the requests, however late: those before its start are
    lost."""
    end, requested = line.now_s() + timeout_s, set[int]()
    while True:
        requested.add(line.request(Operation.HELLO))
        try:
            line.wait_for(Acknowledgement, REPEAT_S, lambda answer: answer.command_id in requested)
            return
        except NoAnswerError:
            if line.now_s() > end:
                raise
