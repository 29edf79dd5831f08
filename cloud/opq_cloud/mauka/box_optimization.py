"""BoxOptimizationPlugin: how many cycles a Box's Measurement has, set and asked for over the bus.

The original's plug-in of this name (opq-interop E.3): a BoxOptimizationRequest becomes one rate command per
Box (`maukarate_<uuid4>_<index>`), a BoxMeasurementRateRequest one info command per Box
(`maukainfo_<uuid4>_0`); what a Box answers to that is a BoxMeasurementRateResponse, where it says a rate.
The original logs errors for good messages and changes a table while it walks over it (H.29).
"""

import uuid
from collections.abc import Sequence

from opq_cloud.mauka.box_commands import BoxCommandPlugin
from opq_cloud.mauka.messages import new_message
from opq_cloud.mauka.plugin import PluginConfig
from opq_proto import log as logs
from opq_proto.errors import FrameError
from opq_proto.mauka_pb2 import MaukaMessage
from opq_proto.wire import Response, info_command, rate_command

log = logs.get(service="mauka")

OPTIMIZATION_REQUEST = "BoxOptimizationRequest"
RATE_REQUEST, RATE_RESPONSE = "BoxMeasurementRateRequest", "BoxMeasurementRateResponse"
RATE_PREFIX, INFO_PREFIX = "maukarate_", "maukainfo_"
SOURCE = "box_optimization_plugin"
MOST_BOXES = 1000
MOST_CYCLES = 3600
"""A minute at 60 Hz: a longer window would be a Box that is not heard."""


class BoxOptimizationPlugin(BoxCommandPlugin):
    """Counters: `rates_set` (Boxes that say their old one), `rates_known`, `requests_refused`, the base's."""

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
        """One command per Box; a request that cannot be meant is refused, counted and logged."""
        kind = mauka_message.WhichOneof("message")
        if kind == "box_optimization_request":
            request = mauka_message.box_optimization_request
            cycles = request.measurement_window_cycles
            if not 0 < cycles <= MOST_CYCLES:
                self._refuse(f"measurement_window_cycles is {cycles}; want 1 to {MOST_CYCLES}")
                return
            self._send_to_all(request.box_ids, cycles)
        elif kind == "box_measurement_rate_request":
            self._send_to_all(mauka_message.box_measurement_rate_request.box_ids, None)
        else:
            self.counters.add("malformed")

    def _send_to_all(self, box_ids: Sequence[str], cycles: int | None) -> None:
        """`cycles` None: ask for the rate."""
        if len(box_ids) > MOST_BOXES:
            self._refuse(f"{len(box_ids)} Boxes; at most {MOST_BOXES}")
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
        log.info("rates.asked" if cycles is None else "rates.set", boxes=list(box_ids), cycles=cycles)

    def _refuse(self, why: str) -> None:
        self.counters.add("requests_refused")
        log.warning("rates.refused", problem=why)

    def accept_answer(self, parts: Sequence[str], response: Response, frames: Sequence[bytes]) -> None:
        """A rate that a Box says goes onto the bus; the answer to a rate command says only the old one."""
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
