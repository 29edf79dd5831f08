"""Commands to Boxes and their answers as protobuf frames, and the topic of a Box.

Milliseconds exist only on the original's wire; fields from 1000 on are additions of this project
(proto/opqbox3.proto). Unreadable bytes raise FrameError and nothing else. Measurements are in
`opq_proto.measurement.wire`; waveforms in `opq_proto.wire.waveforms`, and can be imported from here.
"""

import time
from collections.abc import Iterable

from opq_proto.errors import FrameError
from opq_proto.wire.opqbox3_pb2 import Command, Response
from opq_proto.wire.waveforms import (
    CYCLE_SAMPLES,
    box_number,
    read_message,
    waveform_from_frames,
    waveform_to_cycles,
    waveform_to_frames,
)

__all__ = [
    "ACK_PLUGIN",
    "CHALLENGE_PLUGIN",
    "CLAIM_PLUGIN",
    "CYCLE_SAMPLES",
    "HALF_CYCLES_PLUGIN",
    "NUMBER_SETTING",
    "PROGRAM_PLUGIN",
    "PROMPT_PLUGIN",
    "SETTINGS_PLUGIN",
    "TAKES_INTERVALS",
    "TAKES_LOSSES",
    "UPDATE_PLUGIN",
    "UPLINK_PLUGIN",
    "Command",
    "Response",
    "claim_accepted",
    "command_from_wire",
    "data_command",
    "info_command",
    "plugin_command",
    "rate_command",
    "response_from_wire",
    "topic",
    "waveform_from_frames",
    "waveform_to_cycles",
    "waveform_to_frames",
]

ACK_PLUGIN = "opq-ack"
"""Reports which sequences are stored (docs/reference/contracts.md, Acknowledgement); a Box does not answer
it."""
TAKES_INTERVALS = "intervals"
"""What a cloud states with its acknowledgements if it takes fields 1010 and 1011 of a Measurement."""
TAKES_LOSSES = "losses"
"""The same of field 1014; a cloud that does not state it refuses the field, or stores an empty window."""
UPLINK_PLUGIN = "opq-uplink"
"""Lets a Box's gateway try another cloud; the message is its addresses and server key as JSON."""
CHALLENGE_PLUGIN = "opq-challenge"
"""Answers with the challenge for the administrator's next proof (`wire.order_proof`)."""
UPDATE_PLUGIN = "opq-update"
PROGRAM_PLUGIN = "opq-program"
"""A user's program of the Box (gateway/opq_gateway/commands/box_program.py)."""
PROMPT_PLUGIN = "opq-prompt"
"""MicroPython's prompt of the Box (gateway/opq_gateway/commands/box_prompt.py)."""
SETTINGS_PLUGIN = "opq-settings"
NUMBER_SETTING = "box_id"
"""The setting by which a gateway identifies its Box: with another number it is another Box."""
HALF_CYCLES_PLUGIN = "opq-half-cycles"
CLAIM_PLUGIN = "opq-claim"
"""Uses a code that the Box's gateway shows; the answer is `claim_accepted` only where the code is right."""
TOPIC_BYTES = 16
"""Longest topic of a Box."""


def topic(box_id: str) -> bytes:
    """First frame of a measurement: the id as decimal, zero padded to 4 (docs/reference/opq-interop.md
    A.3)."""
    return b"%04d" % box_number(box_id)


def command_from_wire(data: bytes) -> Command:
    """The protobuf Command; FrameError if it is not one."""
    return read_message(Command, data)


def response_from_wire(data: bytes) -> Response:
    """The protobuf Response (a response's first frame); FrameError if it is not one."""
    return read_message(Response, data)


def data_command(
    box_id: str,
    start_ns: int,
    end_ns: int,
    identity: str,
    wait: bool = True,
    now_ms: int | None = None,
    stamp: tuple[int, int] | None = None,
    start_id: int | None = None,
) -> bytes:
    """A Command that asks for the samples of [start_ns, end_ns), widened to whole milliseconds.

    `stamp`: a sample, and its time (ns) on the clock of these times; None: of the best clock. `start_id`: the
    start of the Box in which that sample counts; None: not known.
    """
    command = _command(box_id, identity, now_ms)
    try:
        command.data_command.start_ms = start_ns // 1_000_000
        command.data_command.end_ms = -(-end_ns // 1_000_000)
    except ValueError as error:
        raise FrameError(f"Box {box_id}: span {start_ns}..{end_ns} does not fit the wire: {error}") from error
    command.data_command.wait = wait
    if stamp is not None:
        command.data_command.sample, command.data_command.sample_ns = stamp
        if start_id:
            command.data_command.start_id = start_id
    return command.SerializeToString()


def info_command(box_id: str, identity: str) -> bytes:
    """A Command that asks a Box who it is."""
    command = _command(box_id, identity)
    command.info_command.SetInParent()
    return command.SerializeToString()


def rate_command(box_id: str, cycles: int, identity: str) -> bytes:
    """A Command that sets the cycles per Measurement."""
    command = _command(box_id, identity)
    try:
        command.sampling_rate_command.measurement_window_cycles = cycles
    except ValueError as error:
        raise FrameError(f"Box {box_id}: {cycles} cycles do not fit the wire: {error}") from error
    return command.SerializeToString()


def plugin_command(
    box_id: str, plugin_name: str, message: str, identity: str, takes: Iterable[str] = ()
) -> bytes:
    """A Command for a plug-in of the Box, e.g. ACK_PLUGIN; `takes`: what this cloud takes, e.g.
    TAKES_INTERVALS."""
    command = _command(box_id, identity)
    command.send_command_to_plugin.plugin_name = plugin_name
    command.send_command_to_plugin.message = message
    command.send_command_to_plugin.takes.extend(takes)
    return command.SerializeToString()


def claim_accepted(box_id: str) -> str:
    """Returns `detail` of the answer to CLAIM_PLUGIN; an original Box answers ok to all, without `detail`."""
    return f"Box {box_id} is claimed by this code"


def _command(box_id: str, identity: str, now_ms: int | None = None) -> Command:
    created_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    try:
        return Command(box_id=box_number(box_id), timestamp_ms=created_ms, identity=identity)
    except (ValueError, TypeError) as error:
        raise FrameError(f"Box {box_id}: command does not fit the wire: {error}") from error
