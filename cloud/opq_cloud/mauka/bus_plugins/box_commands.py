"""The common part of the original's plug-ins that command Boxes: PUSH 9884, and answers from SUB 9899.

Commands differ in their identity (docs/reference/opq-interop.md A.6): `mauka_`, `maukarate_`, `maukainfo_`.
The acquisition broker sends an answer to all subscribers under the identity of its command.
"""

import threading
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import zmq

from opq_cloud.core.backend.peer_watch import WatchedConnections
from opq_cloud.core.backend.sockets import Context, Socket, open_socket, service_context
from opq_cloud.core.backend.waits import Stop
from opq_cloud.core.service import HealthReport
from opq_cloud.mauka.bus.bus_messages import new_message
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_proto.errors import FrameError
from opq_proto.kit import log as logs
from opq_proto.kit.zmq_inbox import try_send, waiting_messages
from opq_proto.wire.frames import Response, info_command, rate_command, response_from_wire
from opq_proto.wire.mauka_pb2 import MaukaMessage

TRIGGER_KEY = "zmq.trigger.interface"
"""The original's key of the address for commands."""
DATA_KEY = "zmq.data.interface"
"""The original's key of the address of answers."""
ANSWERS_AT_ONCE = 50
RECEIVE_QUEUE = 200


class BoxCommandPlugin(MaukaPlugin):
    """Counters: `commands_sent`, `commands_dropped`, `answers`, `answers_malformed`, and the base's.

    Except for those of the base, its methods run in its loop's thread.
    """

    def __init__(
        self, config: PluginConfig, subscriptions: Sequence[str], name: str, prefixes: Sequence[str]
    ) -> None:
        """`prefixes`: beginnings of the identities whose answers it receives."""
        super().__init__(config, subscriptions, name)
        self._prefixes = tuple(prefixes)
        self._requests: Socket | None = None
        self._answers: Socket | None = None
        self._command_context: Context | None = None
        self._connections = WatchedConnections()

    def health(self) -> list[HealthReport]:
        """Reports a missing acquisition broker."""
        return [HealthReport(self.name, self._connections.problem is None, info=self._connections.problem)]

    def run(self, stop: Stop, ready: threading.Event | None = None) -> None:
        """Runs as the base does, with both sockets in addition to the bus."""
        with ExitStack() as opened:
            context = self._command_context = opened.enter_context(service_context())
            self._answers = opened.enter_context(closing(open_socket(context, zmq.SUB, rcvhwm=RECEIVE_QUEUE)))
            self._connections = WatchedConnections()
            self._connections.connect(self._answers, str(self.config[DATA_KEY]), DATA_KEY)
            for prefix in self._prefixes:
                self._answers.setsockopt(zmq.SUBSCRIBE, prefix.encode())
            self._requests = opened.enter_context(closing(open_socket(context, zmq.PUSH)))
            self._connections.connect(self._requests, str(self.config[TRIGGER_KEY]), TRIGGER_KEY)
            try:
                super().run(stop, ready)
            finally:
                self._requests = self._answers = self._command_context = None

    def send_command(self, command: bytes) -> bool:
        """Returns False where no broker takes the command now; counts either outcome."""
        sent = self._requests is not None and try_send(self._requests, [command])
        self.counters.add("commands_sent" if sent else "commands_dropped")
        return sent

    def accept_answer(self, parts: Sequence[str], response: Response, frames: Sequence[bytes]) -> None:
        """Handles a Box's answer; for the plug-in to override.

        Args:
            parts: the three parts of the identity.
            frames: the Response as it came, and the Cycles after it.
        """

    def on_idle(self) -> bool:
        """Reads the answers that have arrived."""
        if self._answers is not None:
            for frames in waiting_messages(self._answers, ANSWERS_AT_ONCE):
                self.guard("answer", partial(self._read_answer, frames))
            self._connections.check()
        return False

    def idle_due_s(self) -> float:
        """Returns the seconds until a missing broker is reported."""
        return self._connections.due_s

    def idle_sockets(self) -> list[Socket]:
        """Returns the sockets of answers, and of what happens to the connections."""
        return [] if self._answers is None else [self._answers, *self._connections.monitors]

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
        """Returns the base's status, with the number of commands sent."""
        return {**super().status(), "commands_sent": int(self.counters.total("commands_sent"))}


log = logs.get(service="mauka")

OPTIMIZATION_REQUEST = "BoxOptimizationRequest"
RATE_REQUEST = "BoxMeasurementRateRequest"
"""The original's topic of a request for a rate."""
RATE_RESPONSE = "BoxMeasurementRateResponse"
"""The original's topic of its answer."""
RATE_PREFIX = "maukarate_"
"""Prefix of the identity of a rate command."""
INFO_PREFIX = "maukainfo_"
"""Prefix of the identity of an info command."""
SOURCE = "box_optimization_plugin"
MAX_BOXES = 1000
MAX_CYCLES = 3600
"""A minute at 60 Hz, because a Box with a longer window would count as silent."""


class BoxOptimizationPlugin(BoxCommandPlugin):
    """Sets and requests the number of cycles of a Box's Measurement over the bus.

    The original's plug-in of this name (docs/reference/opq-interop.md E.3): a BoxOptimizationRequest becomes
    one rate command per Box (`maukarate_<uuid4>_<index>`), a BoxMeasurementRateRequest one info command per
    Box (`maukainfo_<uuid4>_0`); where a Box's answer to that states a rate, it becomes a
    BoxMeasurementRateResponse. The original logs errors for good messages and changes a table while it
    iterates over it (H.29).

    Counters: `rates_set` (Boxes that answer with their old one), `rates_known`, `requests_refused`, the
    base's.
    """

    NAME = "BoxOptimizationPlugin"
    GIVES = (RATE_RESPONSE,)

    def __init__(self, config: PluginConfig) -> None:
        super().__init__(
            config,
            [OPTIMIZATION_REQUEST, RATE_REQUEST],
            BoxOptimizationPlugin.NAME,
            [RATE_PREFIX, INFO_PREFIX],
        )

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        """Sends one command per Box; an invalid request is refused, counted and logged."""
        kind = mauka_message.WhichOneof("message")
        if kind == "box_optimization_request":
            request = mauka_message.box_optimization_request
            cycles = request.measurement_window_cycles
            if not 0 < cycles <= MAX_CYCLES:
                self._refuse(f"measurement_window_cycles is {cycles}; want 1 to {MAX_CYCLES}")
                return
            self._send_to_all(request.box_ids, cycles)
        elif kind == "box_measurement_rate_request":
            self._send_to_all(mauka_message.box_measurement_rate_request.box_ids, None)
        else:
            self.counters.add("malformed")

    def _send_to_all(self, box_ids: Sequence[str], cycles: int | None) -> None:
        """Sends the rate to all; with `cycles` None it requests the rate."""
        if len(box_ids) > MAX_BOXES:
            self._refuse(f"{len(box_ids)} Boxes; at most {MAX_BOXES}")
            return
        request_id = uuid.uuid4()
        for index, box_id in enumerate(dict.fromkeys(box_ids)):
            try:
                if cycles is None:
                    command = info_command(box_id, f"{INFO_PREFIX}{request_id}_0")
                else:
                    command = rate_command(box_id, cycles, f"{RATE_PREFIX}{request_id}_{index}")
            except FrameError as error:
                self._refuse(str(error))
                continue
            self.send_command(command)
        log.info("rates.requested" if cycles is None else "rates.set", boxes=list(box_ids), cycles=cycles)

    def _refuse(self, why: str) -> None:
        self.counters.add("requests_refused")
        log.warning("rates.refused", problem=why)

    def accept_answer(self, parts: Sequence[str], response: Response, frames: Sequence[bytes]) -> None:
        """Publishes the rate that a Box states; the answer to a rate command states only the old one."""
        kind = response.WhichOneof("response")
        if kind == "message_rate_reponse":
            self.counters.add("rates_set")
            return
        rate = response.info_response.measurement_rate if kind == "info_response" else 0
        if rate <= 0:
            return
        self.counters.add("rates_known")
        message = new_message(SOURCE)
        message.box_measurement_rate_response.box_id = str(response.box_id)
        message.box_measurement_rate_response.measurement_rate = rate
        self.produce(RATE_RESPONSE, message)
