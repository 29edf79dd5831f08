"""How soon the gateway answers a raw request, and how soon a crossing at a Box comes back as a request.

Both by the log lines of the processes, which share the system's monotonic clock: `box.crossing_sent` when the
Box wrote the last byte of its Crossing, `command.received` when the frame came out of the gateway's socket,
`request.received` when the desk has it decoded, `answer.handed_on` when the last Cycle is in the socket.
"""

import time

from opq_proto.ports import endpoint
from opq_proto.wire import data_command
from opq_tools.benchmarks.gateway.house import House, house
from opq_tools.box.asking import Asking
from opq_tools.children import Line

REQUEST_S = 10
PAUSE_S = 0.05
APART_S = 4.37
"""From sag to sag: longer than an event's span, and no whole number of windows."""
SAG_BOXES = 4
SOON_S = 3.0
"""A request that comes later is not taken for the answer to the crossing."""


def requests_ms(asked: int) -> list[float]:
    """Milliseconds from a command received to its last Cycle in the socket; 10 s of samples each."""
    with house(1, debug=True) as up:
        up.rest(REQUEST_S + 5)
        commands, answers = (endpoint(name, up.offset) for name in ("command_backend", "response_backend"))
        with Asking(commands, answers) as asking:
            for _ in range(asked):
                end_ns = time.time_ns() - 2 * 10**9
                asking.ask(data_command("1", end_ns - REQUEST_S * 10**9, end_ns, asking.identity), 10.0)
                time.sleep(PAUSE_S)
        found: list[float] = []
        received, wanted = 0, False
        for line in _lines(up, 1.0):
            match line.facts.get("event"):
                case "command.received":
                    received = int(line.facts["monotonic_ns"])
                case "request.received":
                    wanted = True
                case "answer.handed_on" if wanted and line.facts["frames"] > REQUEST_S * 60:
                    found.append((int(line.facts["monotonic_ns"]) - received) / 1e6)
                    wanted = False
        return found


def crossings_ms(sags: int) -> list[float]:
    """Milliseconds from a Crossing sent by a Box to the request for its waveform at the gateway."""
    with house(SAG_BOXES, sag_every_s=APART_S, debug=True) as up:
        open_ns: dict[str, int] = {}
        found: list[float] = []
        until = time.monotonic() + (sags + 5) * APART_S
        while len(found) < sags and time.monotonic() < until:
            line = up.line(0.1)
            if line is None:
                continue
            box_id, event = str(line.facts.get("box_id")), line.facts.get("event")
            if event == "box.crossing_sent":
                open_ns[box_id] = int(line.facts["monotonic_ns"])
            elif event == "request.received" and box_id in open_ns:
                waited_s = (int(line.facts["monotonic_ns"]) - open_ns.pop(box_id)) / 1e9
                if waited_s < SOON_S:
                    found.append(waited_s * 1e3)
        return found


def _lines(up: House, quiet_s: float) -> list[Line]:
    """All log lines that wait, until it is quiet."""
    found: list[Line] = []
    while (line := up.line(quiet_s)) is not None and len(found) < 100_000:
        found.append(line)
    return found
