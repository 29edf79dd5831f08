"""`opq-tools box`: the command and its subcommands."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click

from opq_proto.kit.command_line import CommandGroup
from opq_proto.kit.shared_options import data_dir_option, json_option, port_offset_option
from opq_proto.wire.command_client import CommandClient, Read
from opq_proto.wire.frames import NUMBER_SETTING, PROGRAM_PLUGIN, info_command, rate_command
from opq_tools.boxes.box.box_half_cycles import facts_of, fetch_half_cycles, write_table
from opq_tools.boxes.box.firmware_update import update_firmware
from opq_tools.boxes.box.program import put_program, read_program
from opq_tools.boxes.box.try_program import try_program_command
from opq_tools.boxes.box.waveform import fetch_waveform, write_recording
from opq_tools.shared import values
from opq_tools.shared.fact_line import fact_line
from opq_tools.shared.moment import from_option, to_option
from opq_tools.shared.service_address import administrator_file, service_address

TIMEOUT_S = 5.0
DEFAULT = "[default: that of the data folder]"
NO_UNITS: Mapping[str, str] = MappingProxyType({})
INFO_UNITS = {"calibration_constant": "counts per volt", "measurement_rate": "cycles a Measurement"}


Decorated = TypeVar("Decorated", bound=Callable[..., object])
Connection = tuple[str, str, float, Path]
"""Addresses for commands and answers, the longest wait for an answer, s, and the administrator's private
file."""


def box_command(function: Callable[..., None]) -> Callable[..., None]:
    """Adds BOX and the options of every command, and passes a `Connection` first."""

    @wraps(function)
    def connected(
        *,
        commands: str | None,
        answers: str | None,
        data_dir: Path | None,
        port_offset: int | None,
        timeout_s: float,
        **named: Any,
    ) -> None:
        to = commands or service_address("commands", port_offset, data_dir)
        back = answers or service_address("answers", port_offset, data_dir)
        if "data_dir" in signature(function).parameters:
            named["data_dir"] = data_dir
        function((to, back, timeout_s, administrator_file(port_offset, data_dir)), **named)

    for option in (
        json_option,
        click.option(
            "--timeout-s",
            type=click.FloatRange(0.1, 600),
            default=TIMEOUT_S,
            show_default=True,
            help="Longest wait for an answer, s.",
        ),
        port_offset_option,
        data_dir_option,
        click.option("--answers", metavar="URL", help=f"Address for the broker's answers.  {DEFAULT}"),
        click.option("--commands", metavar="URL", help=f"Address for the broker's commands.  {DEFAULT}"),
        click.argument("box_id", metavar="BOX", callback=_number, shell_complete=values.boxes),
    ):
        connected = option(connected)
    return connected


def _number(context: click.Context, parameter: click.Parameter, text: str) -> str:
    if not (text.isascii() and text.isdigit()) or int(text[:11]) >= 2**31:
        raise click.BadParameter(f"{text!r} is not a Box; want its number, 0 to {2**31 - 1}")
    return str(int(text))


@click.group("box", cls=CommandGroup)
def command() -> None:
    """Send a request to a Box, through Makai and its gateway.

    \b
    Examples: opq-tools box info 1
              opq-tools box settings 1 led=off
              opq-tools box program put 1 box.py
              opq-tools box prompt 1
              opq-tools box update 1 build/firmware/opqbox/firmware.opqfw
              opq-tools box waveform 1 --from 2026-11-20T10:00:00 --to 2026-11-20T10:00:02 --out dip.i16
    """


@command.command(short_help="Who the Box is, its firmware, times and protections.")
@box_command
def info(connection: Connection, box_id: str, as_json: bool) -> None:
    """Show its addresses, uptime, gain, key, rate, losses, option bytes and time label.

    Example: opq-tools box info 1 --json
    """
    with _command_client(connection) as (client, timeout_s):
        found = client.send_command(info_command(box_id, client.identity), timeout_s).info_response
    fields = {field.name: getattr(found, field.name) for field in found.DESCRIPTOR.fields}
    units = {"uptime": "ms" if found.firmware else "s", **INFO_UNITS}  # an original Box sends seconds
    _show(fields | {"losses": dict(found.losses), "facts": dict(found.facts)}, as_json, units)


@command.command()
@box_command
@click.argument("cycles", type=click.IntRange(1, 600))
def rate(connection: Connection, box_id: str, cycles: int, as_json: bool) -> None:
    """Set the CYCLES per Measurement, until its gateway restarts.

    Example: opq-tools box rate 1 12
    """
    with _command_client(connection) as (client, timeout_s):
        answer = client.send_command(rate_command(box_id, cycles, client.identity), timeout_s)
    _show({"old_cycles": answer.message_rate_reponse.old_rate_cycles, "cycles": cycles}, as_json)


@command.command()
@box_command
@click.argument("assignment", required=False, metavar="[KEY=VALUE]")
@click.option("--force", is_flag=True, help="Also allow its number (box_id) to be changed.")
def settings(connection: Connection, box_id: str, assignment: str | None, force: bool, as_json: bool) -> None:
    """Show its settings, or change one (kept in flash).

    Example: opq-tools box settings 1 led=off
    """
    if (assignment or "").partition("=")[0] == NUMBER_SETTING and not force:
        raise click.ClickException(
            f"{assignment} makes it another Box: its gateway takes no samples of it until it is on the port "
            "of that number, or on any port after box_id=0; --force does it anyway"
        )
    answer = _order(connection, box_id, "opq-settings", assignment or "")
    if assignment is None:
        _show(json.loads(answer), as_json)
    else:
        _show({"set": assignment}, as_json)


@command.command()
@box_command
def reset(connection: Connection, box_id: str, as_json: bool) -> None:
    """Restart the Box.

    Example: opq-tools box reset 1
    """
    _order(connection, box_id, "opq-reset", "")
    _show({"box_id": box_id, "done": "starts again"}, as_json)


@command.command(short_help="Set its clock; a Box with GPS keeps its own time.")
@box_command
@click.argument("utc_ms", required=False, type=click.IntRange(0))
def time(connection: Connection, box_id: str, utc_ms: int | None, as_json: bool) -> None:
    """Set its clock to UTC_MS (ms since 1970) or to its gateway's time; a Box with GPS keeps its own time.

    Example: opq-tools box time 1
    """
    answer = _order(connection, box_id, "opq-time", "" if utc_ms is None else str(utc_ms))
    _show({"box_id": box_id, "done": answer or "the time is set"}, as_json)


@command.command("update", short_help="Update its firmware while it samples.")
@box_command
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--look", is_flag=True, help="No FILE: its gateway looks for releases now, not within the hour."
)
def update_command(connection: Connection, box_id: str, file: Path | None, look: bool, as_json: bool) -> None:
    """Update it to the firmware FILE (.opqfw) while it samples.

    The Box checks the signature itself and starts the new firmware on trial. If that does not become healthy,
    the Box returns to the old one by itself.

    With --look the gateway of the Box looks at the repository of releases now: for itself, and for all of its
    Boxes (docs/updates.md).

    Example: opq-tools box update 1 build/firmware/opqbox/firmware.opqfw

    Example: opq-tools box update 1 --look
    """
    if look == (file is not None):
        raise click.UsageError("want either a FILE of firmware or --look")
    if file is None:
        answer = _order(connection, box_id, "opq-update", "look")
        _show({"box_id": box_id, "done": answer}, as_json)
        return
    with _command_client(connection) as (client, timeout_s):
        end = update_firmware(client, box_id, file, timeout_s)
    _show({"state": end.state, "firmware": end.firmware}, as_json)
    if not as_json:
        click.echo(end.words)


@command.group("program", cls=CommandGroup, short_help="Run a box.py of your own on the Box.")
def program_command() -> None:
    """Run a box.py of your own on the Box, on each window of 10 or 12 cycles (docs/box-program.md).

    \b
    Examples: opq-tools box program try box.py event_9354_box1.i16
              opq-tools box program put 1 box.py
    """


program_command.add_command(try_program_command)


@program_command.command("put")
@box_command
@click.argument("file", type=click.Path(path_type=Path))
def put_program_command(connection: Connection, box_id: str, file: Path, as_json: bool) -> None:
    """Replace its program by FILE while it samples.

    The Box refuses one that does not compile or has no function window, and goes on with the former one.

    Example: opq-tools box program put 1 box.py
    """
    _show(put_program(partial(_order, connection, box_id), file), as_json)


@program_command.command("show")
@box_command
def show_program_command(connection: Connection, box_id: str, as_json: bool) -> None:
    """Show its program, whether it runs, or why it was stopped.

    Example: opq-tools box program show 1
    """
    found = read_program(partial(_order, connection, box_id), "show")
    text = None if as_json else found.pop("text", None)
    _show(found, as_json)
    if text is not None:
        click.echo(f"\n{text}", nl=False)


@program_command.command("remove")
@box_command
def remove_program_command(connection: Connection, box_id: str, as_json: bool) -> None:
    """Remove its program.

    Example: opq-tools box program remove 1
    """
    _order(connection, box_id, PROGRAM_PLUGIN, "remove")
    _show(read_program(partial(_order, connection, box_id), ""), as_json)


@command.command("prompt", short_help="MicroPython's prompt on the Box, while it samples.")
@box_command
@click.option("--pty", "on_pty", is_flag=True, help="On a pty, for example for mpremote; print its path.")
def prompt_command(connection: Connection, box_id: str, on_pty: bool, as_json: bool) -> None:
    """Open its MicroPython prompt, while it samples; Ctrl-] ends the session, Ctrl-D is a soft reset.

    It needs the administrator's key. What runs there may use all of the Box (docs/box-prompt.md).

    \b
    Examples:
      opq-tools box prompt 1
      opq-tools box prompt 1 --pty               # then: mpremote connect /dev/pts/5 run mine.py
    """
    try:
        from opq_tools.boxes.box.prompt import BoxPrompt, at_terminal, on_a_pty  # a terminal is Unix's
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"a prompt needs {error.name}: pip install 'opq-toolkit[signing]'"
        ) from error

    with _command_client(connection) as (client, timeout_s):

        def order(plugin: str, message: str, read: Read | None) -> str:
            return client.send_order(box_id, plugin, message, timeout_s, read)

        prompt = BoxPrompt(order, box_id)
        if on_pty:
            on_a_pty(prompt, lambda path: _show({"box_id": box_id, "pty": path}, as_json))
        else:
            at_terminal(prompt)
        if prompt.refused:
            click.echo(f"opq-tools: its gateway refused {prompt.refused} messages of others", err=True)


@command.command(short_help="Fetch its samples of a span, or the rms of each half cycle.")
@box_command
@from_option("Only data from this time on (UTC), e.g. 2026-11-20T10:00:00 or now-2h.", required=True)
@to_option("Only data before this time (UTC).", required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write: FILE.i16, or FILE.csv with --half-cycles, which can do without.",
)
@click.option(
    "--half-cycles",
    is_flag=True,
    help="Fetch the rms of each half cycle during dips and swells, which its gateway has stored.",
)
@click.option("--wait", is_flag=True, help="Wait for samples up to --to, which may be up to 60 s ahead.")
def waveform(
    connection: Connection,
    box_id: str,
    start_ns: int,
    end_ns: int,
    out: Path | None,
    half_cycles: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Fetch its samples of a span as a recording: FILE.i16, and FILE.json with rate, gain and time.

    \b
    Examples:
      opq-tools box waveform 1 --from 2026-11-20T10:00:00 --to 2026-11-20T10:00:02 --out dip.i16
      opq-tools box waveform 1 --half-cycles --from 2026-11-20T10:00:00 --to 2026-11-20T10:20:00
    """
    if half_cycles:
        if wait:
            raise click.UsageError("--wait goes without --half-cycles")
        _fetch_half_cycles(connection, box_id, (start_ns, end_ns), out, as_json)
        return
    if out is None or out.suffix != ".i16":
        given = "missing" if out is None else f"{out}, which is not a .i16"
        raise click.UsageError(f"--out is {given}; want for example dip.i16")
    with _command_client(connection) as (client, timeout_s):
        answer = fetch_waveform(client, box_id, (start_ns, end_ns), timeout_s, wait)
    facts = write_recording(out, *answer)
    for gap in facts["gaps"]:
        click.echo(
            f"{gap['samples']} samples from sample {gap['first_sample']} are missing: {gap['reason']}",
            err=True,
        )
    _show({**facts, "file": str(out)}, as_json)


def _fetch_half_cycles(
    connection: Connection, box_id: str, span_ns: tuple[int, int], out: Path | None, as_json: bool
) -> None:
    with _command_client(connection) as (client, timeout_s):
        found = list(fetch_half_cycles(client, box_id, span_ns, timeout_s))
    if out is not None:
        write_table(out, found)
    _show({**facts_of(found), **({} if out is None else {"file": str(out)})}, as_json)


@command.command(short_help="Hand it with key and history to another cloud.")
@box_command
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    metavar="CLOUD",
    help="Data folder of the other cloud, which runs.",
)
@click.option("--to-mongo-uri", help="URI of the other cloud's store where it is a MongoDB.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Name of the other cloud's machine, for its gateway.",
)
@click.option(
    "--to-port-offset",
    type=click.IntRange(0),
    help="The other cloud's port offset.  [default: of the system that runs in CLOUD]",
)
@click.option("--mongo-uri", help="URI of this cloud's store where it is a MongoDB, e.g. mongodb://host/opq.")
def move(
    connection: Connection,
    box_id: str,
    to: Path,
    to_mongo_uri: str | None,
    host: str,
    to_port_offset: int | None,
    data_dir: Path | None,
    mongo_uri: str | None,
    as_json: bool,
) -> None:
    """Hand it with its key, its history and what its gateway still holds to another cloud.

    Its gateway sends to the other cloud from then on; nothing is lost, and nothing is stored twice.
    Measurements, minutes of trends and the Box's part of events are copied; the other cloud analyses
    them again. Here it is retired, and its data stays. A command that failed or was ended is given again.

    Example: opq-tools box move 7 --to /srv/other-opq --host makai2.example
    """
    from opq_tools.boxes.box.move import move_between  # other requests need no store

    there = (to, to_mongo_uri, host, to_port_offset)
    with _command_client(connection) as (client, _):
        _show(
            move_between(box_id, (data_dir, mongo_uri), there, client, partial(click.echo, err=True)), as_json
        )


@contextmanager
def _command_client(connection: Connection) -> Iterator[tuple[CommandClient, float]]:
    to, back, timeout_s, administrator = connection
    with CommandClient(to, back, administrator=administrator) as client:
        yield client, timeout_s


def _order(connection: Connection, box_id: str, plugin: str, message: str) -> str:
    with _command_client(connection) as (client, timeout_s):
        return client.send_order(box_id, plugin, message, timeout_s)


def _show(facts: dict[str, Any], as_json: bool, units: Mapping[str, str] = NO_UNITS) -> None:
    """Prints the facts; `units` has the unit of each key that does not end in one."""
    if as_json:
        click.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        if value is not None:
            click.echo(f"{fact_line(key, value, 24)} {units.get(key, '')}".rstrip())
