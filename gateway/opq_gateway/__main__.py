"""`opq-gateway`: the gateway as a service.

opq-gateway run --config gateway.toml        (or opq-gateway --config gateway.toml)
opq-gateway rules                            the stream rules, where they are installed
opq-gateway status                           Boxes, clocks and open claim codes of the gateway that runs here
opq-gateway setup-link                       a link to the set-up page of the gateway that runs here
opq-gateway claim-code 1                     a code for the owner of Box 1, of the gateway that runs here
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import click

from opq_gateway.serial_side.early_ports import early_ports
from opq_gateway.update.starting import start_by_journal
from opq_proto.errors import OpqError
from opq_proto.kit.command_line import CommandGroup
from opq_proto.kit.ending import end_at_signals, signals_by_default, stopped_by_signals
from opq_proto.kit.shared_options import (
    config_option,
    data_dir_option,
    json_option,
    new_data_dir_option,
    port_offset_option,
)

RETRY_S = 5.0
"""A gateway that cannot serve ends only after this time, because the service manager restarts it at once."""


@click.group(
    cls=CommandGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@config_option
@new_data_dir_option
@port_offset_option
@click.pass_context
def main(
    context: click.Context, config_path: Path | None, data_dir: Path | None, port_offset: int | None
) -> None:
    """Serve Boxes on serial ports: store raw samples, measure, send over CurveZMQ."""
    if context.invoked_subcommand not in (None, "run", "rules"):
        signals_by_default()
    context.obj = (config_path, data_dir, port_offset)
    if context.invoked_subcommand is None:
        if config_path is None:
            raise click.UsageError("want --config FILE; an example: opq-gateway run --config gateway.toml")
        sys.exit(_run(config_path, data_dir, port_offset or 0))


@main.command()
@config_option
@new_data_dir_option
@port_offset_option
@click.pass_obj
def run(
    outer: tuple[Path | None, Path | None, int | None],
    config_path: Path | None,
    data_dir: Path | None,
    port_offset: int | None,
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Example: opq-gateway run --config gateway.toml --data-dir /var/lib/opq
    """
    config_path = config_path or outer[0]
    if config_path is None:
        raise click.UsageError("want --config FILE; an example: opq-gateway run --config gateway.toml")
    offset = outer[2] if port_offset is None else port_offset
    sys.exit(_run(config_path, data_dir or outer[1], offset or 0))


DEFAULT_ENDPOINT = "127.0.0.1:8913"
_endpoint = click.option(
    "--endpoint",
    help=f"Address of the running gateway: its `health_endpoint`.  [default: {DEFAULT_ENDPOINT}]",
)


def _address(
    context: click.Context, endpoint: str | None, data_dir: Path | None, port_offset: int | None
) -> tuple[str, int]:
    """The address of the running gateway and its offset, by options of the command or of `opq-gateway`.

    Raises OpqError: no gateway has this data folder.
    """
    from opq_gateway.local.running_gateway import found_address

    _, outer_dir, outer_offset = context.obj
    offset = outer_offset if port_offset is None else port_offset
    return found_address(endpoint, data_dir or outer_dir, offset, DEFAULT_ENDPOINT)


@main.command("claim-code", short_help="Show a code by which its owner claims BOX in View.")
@click.argument("box_id", metavar="BOX")
@_endpoint
@data_dir_option
@port_offset_option
@json_option
@click.pass_context
def claim_code(
    context: click.Context,
    box_id: str,
    endpoint: str | None,
    data_dir: Path | None,
    port_offset: int | None,
    as_json: bool,
) -> None:
    """Show a code by which its owner claims BOX in View, valid for ten minutes and one use.

    The gateway must run on this machine. Example: opq-gateway claim-code 1
    """
    from opq_gateway.local.running_gateway import claim_words, make_claim_code

    try:
        made = make_claim_code(*_address(context, endpoint, data_dir, port_offset), box_id)
    except OpqError as error:
        click.echo(f"opq-gateway: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(json.dumps(made) if as_json else claim_words(made))


@main.command("setup-link", short_help="Show a link to the set-up page of the running gateway.")
@_endpoint
@data_dir_option
@port_offset_option
@json_option
@click.pass_context
def setup_link(
    context: click.Context,
    endpoint: str | None,
    data_dir: Path | None,
    port_offset: int | None,
    as_json: bool,
) -> None:
    """Show a link to the set-up page, valid for ten minutes and one use.

    The gateway must run on this machine. Example: opq-gateway setup-link
    """
    from opq_gateway.local.running_gateway import make_setup_link

    try:
        made = make_setup_link(*_address(context, endpoint, data_dir, port_offset))
    except OpqError as error:
        click.echo(f"opq-gateway: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(json.dumps({"url": made}) if as_json else made)


@main.command("status", short_help="Boxes, clocks, GPS and claim codes of the running gateway.")
@_endpoint
@data_dir_option
@port_offset_option
@json_option
@click.pass_context
def status(
    context: click.Context,
    endpoint: str | None,
    data_dir: Path | None,
    port_offset: int | None,
    as_json: bool,
) -> None:
    """Show Boxes, their clocks, GPS and open claim codes of the gateway that runs on this machine.

    Example: opq-gateway status --data-dir /var/lib/opq
    """
    from opq_gateway.local.running_gateway import read_status, status_words

    try:
        found = read_status(*_address(context, endpoint, data_dir, port_offset))
    except OpqError as error:
        click.echo(f"opq-gateway: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(json.dumps(found) if as_json else "\n".join(status_words(found)))


@main.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    short_help="Stream rules (SQL over measurements), with REST on 9081.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def rules(arguments: tuple[str, ...]) -> None:
    """Run stream rules as a separate process; see `opq-gateway rules --help`."""
    try:
        from opq_rules.api.rules_command import main as rules_main
    except ImportError as error:
        click.echo(f"opq-gateway: {error}; install it with: pip install 'opq-toolkit[rules]'", err=True)
        sys.exit(1)
    sys.exit(rules_main(arguments))


def _run(config_path: Path, data_dir: Path | None, port_offset: int) -> int:
    code = _serve(config_path, data_dir, port_offset)
    if code == 1 and "NOTIFY_SOCKET" in os.environ:
        time.sleep(RETRY_S)
    return code


def _serve(config_path: Path, data_dir: Path | None, port_offset: int) -> int:
    on_trial = start_by_journal(config_path, data_dir, sys.argv[1:])
    # the Box's port is read during the imports, which take longer than the Box can wait
    early = early_ports(config_path, data_dir)
    try:
        from opq_proto.link import frames as link  # noqa: F401

        early.allow_requests()
        from opq_gateway.config import data_folder
        from opq_gateway.gateway import Gateway
        from opq_gateway.setup import saved
        from opq_gateway.setup.setup_surroundings import refuse
        from opq_proto.kit import log
        from opq_proto.kit.system_record import GATEWAY, forget_after_ctrl_c, refuse_unfinished
    except ImportError as error:
        click.echo(f"opq-gateway: {error}; install it with: pip install 'opq-toolkit[gateway]'", err=True)
        return 1
    log.configure("gateway")
    stop = threading.Event()
    try:
        # before signals are handled, because a configuration from a pipe may block
        config = saved.load_saved(config_path, data_dir, port_offset)
        refuse_unfinished(data_folder(config).parent)
        refuse(config)
        gateway = Gateway(config, early, on_trial, port_offset, config_path)
        with stopped_by_signals(stop) as signals:
            gateway.run(stop)
        if signal.SIGINT in signals:  # Ctrl-C at a terminal: the gateway is not to be restarted
            forget_after_ctrl_c(data_folder(config).parent, GATEWAY)
    except OpqError as error:
        click.echo(f"opq-gateway: {error}", err=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    end_at_signals()
    main()
