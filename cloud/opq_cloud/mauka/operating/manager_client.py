"""The client of the plug-in manager's address: sends a command, and reads whether it succeeded.

Apart from `plugin_commands.py`, because View and commands send them without loading Mauka's plug-ins.
"""

from contextlib import closing

import zmq

from opq_cloud.core.backend.sockets import connect, open_monitor, open_socket, service_context
from opq_cloud.mauka.bus.broker import NobodyListensError

GREEN = "\x1b[1;32m"
"""Colours as the original's plugin manager writes them: clients compare its answers."""
RED = "\x1b[1;31m"
PLAIN = "\x1b[0;0m"
"""Ends a colour."""
CONNECTED_S = 10.0
"""The longest wait for a connection, which libzmq makes however busy Mauka is."""


def ok(text: str = "") -> str:
    return f"{GREEN}OK{PLAIN}" + (f". {text}" if text else "")


def error(text: str) -> str:
    return f"{RED}ERROR{PLAIN}. {text}"


def query_manager(command: str, endpoint: str, wait_s: float = 60.0) -> str:
    """Sends one command to a running Mauka; returns its answer.

    Raises NobodyListensError: no connection after CONNECTED_S, or no answer within `wait_s`; loading a
    plug-in may take 30 s.
    """
    with (
        service_context() as context,
        closing(open_socket(context, zmq.REQ)) as socket,
        closing(open_monitor(context, socket, "manager", zmq.EVENT_HANDSHAKE_SUCCEEDED)) as connected,
    ):
        connect(socket, endpoint, "endpoint")
        socket.send(command.encode())
        there = connected.poll(round(min(wait_s, CONNECTED_S) * 1000))
        socket.disable_monitor()
        if not there or not socket.poll(round(wait_s * 1000)):
            waited_s = wait_s if there else min(wait_s, CONNECTED_S)
            raise NobodyListensError(
                f"Mauka does not answer at {endpoint} (waited {waited_s:g} s): "
                "start `opq-tools up` or `opq-cloud mauka`, or give its --port-offset, or its keys "
                "(docs/backend-keys.md)"
            )
        return socket.recv().decode(errors="replace")


def succeeded(answer: str) -> bool:
    return not answer.startswith(error("")[: len(RED) + len("ERROR")])
