"""What the original's plug-ins that command Boxes have in common: PUSH 9884, and answers from SUB 9899.

Commands differ in their identity (opq-interop A.6): `mauka_`, `maukarate_`, `maukainfo_`. The
acquisition broker sends an answer to everybody under the identity of its command.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import zmq

from opq_cloud.mauka.bus import Stop
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.own_keys import OwnKeys
from opq_cloud.sockets import Context, Socket, open_socket, service_context
from opq_proto.errors import FrameError
from opq_proto.wire import Response, response_from_wire
from opq_proto.zmq_inbox import try_send, waiting_messages

TRIGGER_KEY, DATA_KEY = "zmq.trigger.interface", "zmq.data.interface"
"""The original's keys of both addresses."""
ANSWERS_AT_ONCE = 50
RECEIVE_QUEUE = 200


class BoxCommandPlugin(MaukaPlugin):
    """Counters: `commands_sent`, `commands_dropped`, `answers`, `answers_malformed`, and the base's.

    Its methods run in its loop's thread, but for those of the base.
    """

    def __init__(
        self, config: PluginConfig, subscriptions: Sequence[str], name: str, prefixes: Sequence[str]
    ) -> None:
        """`prefixes`: of the identities whose answers it hears."""
        super().__init__(config, subscriptions, name)
        self._prefixes = tuple(prefixes)
        self._requests: Socket | None = None
        self._answers: Socket | None = None
        self._command_context: Context | None = None

    def run(self, stop: Stop, ready: threading.Event | None = None) -> None:
        """As the base, with both sockets beside the bus."""
        with ExitStack() as opened:
            context = self._command_context = opened.enter_context(service_context())
            self._answers = opened.enter_context(closing(open_socket(context, zmq.SUB, rcvhwm=RECEIVE_QUEUE)))
            self._keys = OwnKeys()
            self._keys.connect(self._answers, str(self.config[DATA_KEY]), DATA_KEY)
            for prefix in self._prefixes:
                self._answers.setsockopt(zmq.SUBSCRIBE, prefix.encode())
            self._requests = opened.enter_context(closing(open_socket(context, zmq.PUSH)))
            self._keys.connect(self._requests, str(self.config[TRIGGER_KEY]), TRIGGER_KEY)
            try:
                super().run(stop, ready)
            finally:
                self._requests = self._answers = self._command_context = None

    def send_command(self, command: bytes) -> bool:
        """False: nobody takes it now; counted."""
        sent = self._requests is not None and try_send(self._requests, [command])
        self.counters.add("commands_sent" if sent else "commands_dropped")
        return sent

    def accept_answer(self, parts: Sequence[str], response: Response, frames: Sequence[bytes]) -> None:
        """For the plug-in to override: a Box's answer.

        Args:
            parts: of the identity, three.
            frames: the Response as it came, and the Cycles after it.
        """

    def on_idle(self) -> bool:
        """Read answers that have come."""
        if self._answers is not None:
            for frames in waiting_messages(self._answers, ANSWERS_AT_ONCE):
                self.guard("answer", partial(self._read_answer, frames))
            self._keys.follow()
        return False

    def _read_answer(self, frames: list[bytes]) -> None:
        self.counters.add("answers")
        try:
            parts = frames[0].decode("utf-8").split("_")
            if len(parts) != 3 or len(frames) < 2:
                raise FrameError("identity has no three parts, or there is no Response")
            self.accept_answer(parts, response_from_wire(frames[1]), frames[1:])
        except (FrameError, UnicodeDecodeError) as error:
            self.counters.add("answers_malformed")
            self._limited.warning("answer.malformed", plugin=self.name, problem=str(error))

    def status(self) -> dict[str, Any]:
        """As every plug-in's, and how many commands went out."""
        return {**super().status(), "commands_sent": int(self.counters.total("commands_sent"))}
