"""CommandClient: sends commands to the acquisition broker, and reads the answers
(docs/reference/opq-interop.md A.6)."""

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import zmq
from zmq.utils.monitor import recv_monitor_message

from opq_proto.errors import FrameError, OpqError
from opq_proto.keys.backend_keys import backend_address
from opq_proto.wire.frames import (
    CHALLENGE_PLUGIN,
    Response,
    command_from_wire,
    plugin_command,
    response_from_wire,
)
from opq_proto.wire.order_proof import STALE, ProofError, needs_proof, prove

Read = Callable[[str], str | None]
"""What an answer's detail says; None: it is not the answer to this order, and is left out."""
CONNECT_S = 5.0
SETTLE_S = 0.2
"""Time for the subscription to arrive after the handshake: an answer before that is lost."""

PROOF_TRIES = 3
"""Most challenges for one order: another client's order may use one up."""


class UnansweredError(OpqError):
    """There is no broker, or no Box is connected to it."""


class BoxRefusedError(OpqError):
    """The Box or its gateway refused the command."""


class CommandClient:
    """Sends commands to Boxes within a `with` block, one at a time."""

    def __init__(
        self,
        command_endpoint: str,
        answer_endpoint: str,
        connect_s: float = CONNECT_S,
        administrator: Path | None = None,
    ) -> None:
        """`administrator`: the private file with which orders are proved that need it."""
        self._administrator = administrator
        self._endpoints = command_endpoint, answer_endpoint
        self._connect_s = connect_s
        self.identity = f"opqtools{uuid.uuid4().hex}"  # no underscore: those have three parts (A.6)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def __enter__(self) -> "CommandClient":
        """Connects.

        Raises:
            UnansweredError: no broker listens there.
        """
        to, back = self._endpoints
        self._commands = self._context.socket(zmq.PUSH)
        self._answers = self._context.socket(zmq.SUB)
        for socket in (self._commands, self._answers):
            socket.linger = 0
        self._answers.subscribe(self.identity.encode())
        try:
            for socket, endpoint in ((self._commands, to), (self._answers, back)):
                _connect(socket, endpoint, self._connect_s)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        time.sleep(SETTLE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy(linger=0)

    def send_command(self, command: bytes, timeout_s: float) -> Response:
        """Sends a Command (made with `identity`) and returns its answer's header.

        Raises:
            UnansweredError: no answer came in time.
        """
        return response_from_wire(self.send_for_frames(command, timeout_s)[0])

    def send_order(
        self, box_id: str, plugin: str, message: str, timeout_s: float, read: Read | None = None
    ) -> str:
        """Sends a plug-in command that this project's gateways know (gateway/README.md); returns the answer.

        An order that gives the Box away or changes its firmware is sent with the administrator's proof.

        Raises:
            UnansweredError: no answer came in time.
            BoxRefusedError: Box or gateway refuse it, the Box is an original one, or the administrator's
                private file is not here.
        """
        if not needs_proof(plugin, message):
            return self._send_order(box_id, plugin, message, timeout_s, read)
        if self._administrator is None:
            raise BoxRefusedError(f"Box {box_id}: {plugin} needs the administrator's key")
        for left in reversed(range(PROOF_TRIES)):
            challenge = self._send_order(box_id, CHALLENGE_PLUGIN, "", timeout_s)
            try:
                proved = prove(plugin, box_id, challenge, message, self._administrator)
            except ProofError as error:
                raise BoxRefusedError(f"Box {box_id}: {error}") from error
            try:
                return self._send_order(box_id, plugin, proved, timeout_s)
            except BoxRefusedError as error:
                if not left or not str(error).endswith(STALE):
                    raise
        raise AssertionError("unreachable")

    def _send_order(
        self, box_id: str, plugin: str, message: str, timeout_s: float, read: Read | None = None
    ) -> str:
        def is_answer(response: Response) -> bool:
            return read is None or read(response.command_to_plugin_response.detail) is not None

        command = plugin_command(box_id, plugin, message, self.identity)
        answer = response_from_wire(self.send_for_frames(command, timeout_s, is_answer)[0])
        response = answer.command_to_plugin_response
        detail = response.detail if read is None else read(response.detail) or ""
        if not response.ok:
            raise BoxRefusedError(f"Box {box_id}: {detail or 'refused'}")
        if not response.HasField("detail"):
            raise BoxRefusedError(
                f"Box {box_id} is an original Box: it acknowledges every command and does nothing"
            )
        return detail

    def send_for_frames(
        self, command: bytes, timeout_s: float, is_answer: Callable[[Response], bool] = lambda _: True
    ) -> list[bytes]:
        """Sends a Command and returns the whole answer: the Response, then the Cycles.

        Who can publish commands can have a Response sent to this identity: `is_answer` leaves it out.

        Raises:
            UnansweredError: no answer came in time.
        """
        self._commands.send(command)
        end = time.monotonic() + timeout_s
        while (left_s := end - time.monotonic()) > 0:
            if not self._answers.poll(round(left_s * 1000) + 1):
                break
            frames = self._answers.recv_multipart()
            try:
                if is_answer(response_from_wire(frames[1])):
                    return frames[1:]
            except (FrameError, IndexError):
                continue
        box_id = command_from_wire(command).box_id
        raise UnansweredError(
            f"Box {box_id} does not answer within {timeout_s:g} s; is its gateway connected? "
            f"Asked at {self._endpoints[0]}"
        )


def _connect(socket: "zmq.Socket[bytes]", endpoint: str, connect_s: float) -> None:
    monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    try:
        backend_address(endpoint).connect(socket)
        if not monitor.poll(round(connect_s * 1000)):
            raise UnansweredError(
                f"no acquisition broker at {endpoint}; is Makai running? It may need keys: "
                "docs/backend-keys.md"
            )
        recv_monitor_message(monitor)
    except zmq.ZMQError as error:
        raise UnansweredError(f"{endpoint}: {error.strerror}") from error
    finally:
        socket.disable_monitor()
        monitor.close(linger=0)
