"""FleetCommands: the gateway's own handler of commands, for Boxes whose samples are made again on request."""

import threading
from collections.abc import Callable
from typing import Final

from opq_gateway.commands.command_handler import CommandedBox, CommandHandler
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.uplink.backlog import CloudAcknowledgement
from opq_proto.errors import FrameError
from opq_proto.keys.key_files import KeyPair
from opq_proto.link.messages import PROTOCOL, Hello
from opq_proto.wire.frames import command_from_wire
from opq_sim.box.source import RunClock, SampleSource
from opq_sim.fleet.outlets import FleetOutlet
from opq_sim.fleet.source_store import SourceStore

LONGEST_REQUEST_S: Final = 120.0


class FleetCommands:
    """Commands of all Boxes of a process; `run` in its own thread."""

    def __init__(self) -> None:
        self._handler = CommandHandler(LONGEST_REQUEST_S)
        self._hellos: dict[tuple[float, ...], Hello] = {}

    def add(
        self,
        outlet: FleetOutlet,
        source: SampleSource,
        clock: RunClock,
        pair: KeyPair,
        counters: BoxCounters,
        cycles: int,
        set_cycles: Callable[[int], None],
        respond: Callable[[list[bytes]], None],
        acknowledge: Callable[[CloudAcknowledgement], None],
        at_once: bool,
    ) -> BoxStatus:
        """Adds a Box with samples of that kind; returns its status.

        `at_once`: `set_cycles` is done when it returns; otherwise it changes the status itself, later.
        """
        status = BoxStatus(outlet.box_id, cycles, hello=self.hello(source), start_id=clock.start_id)

        def set_and_note(wanted: int) -> None:
            set_cycles(wanted)
            if at_once:
                status.measurement_cycles = wanted

        box = CommandedBox(
            status,
            SourceStore(outlet.box_id, outlet.samples, source.rate_millihz, clock),
            counters,
            pair.public.decode(),
            set_and_note,
            respond,
            None,
            acknowledge,
        )
        self._handler.add(outlet.box_id, box)
        return status

    def run(self, stop: threading.Event) -> None:
        """Answers requests for samples until `stop`."""
        self._handler.run(stop)

    def offer(self, box_id: str, data: bytes) -> None:
        """Leaves a command to the thread of `run`."""
        self._handler.offer(box_id, data)

    def handle(self, box_id: str, data: bytes) -> None:
        """Handles a command at once; the thread of `run` answers requests for samples."""
        try:
            asks_data = command_from_wire(data).WhichOneof("command") == "data_command"
        except FrameError:
            asks_data = False  # the handler counts it
        (self._handler.offer if asks_data else self._handler.handle_command)(box_id, data)

    def hello(self, source: SampleSource) -> Hello:
        """What the handler needs of a Box; one for all Boxes of a kind."""
        numbers = source.rate_millihz, source.v_per_lsb, source.nominal_v, source.nominal_hz
        hello = Hello(PROTOCOL, 0, 1, *numbers, source.effective_bits, 200, 0, "opq-hil fleet", "opq-hil 1")
        return self._hellos.setdefault((*numbers, source.effective_bits), hello)
