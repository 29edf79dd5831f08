"""`opq-gateway rules`: the rule engine as its own process."""

import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import click

from opq_plugins.policy import network_setting
from opq_proto.errors import OpqError
from opq_proto.kit import log
from opq_proto.kit.command_line import usage_line
from opq_proto.kit.ending import stopped_by_signals
from opq_proto.kit.http_server import url_of
from opq_proto.kit.shared_options import common_option, new_data_dir_option, port_offset_option
from opq_proto.kit.system_record import (
    RULES,
    MeantService,
    forget_after_ctrl_c,
    note_meant,
    refuse_unfinished,
)
from opq_rules.api import rules_config as configuration
from opq_rules.api.rules_service import RulesService


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--host", default=None, help="Address for REST (default 127.0.0.1); beyond loopback it needs token_file."
)
@click.option("--port", type=click.IntRange(0, 65_535), default=None, help="Port of REST (default 9081).")
@common_option("--config", "path")
@new_data_dir_option
@port_offset_option
def run(
    path: Path | None, data_dir: Path | None, host: str | None, port: int | None, port_offset: int | None
) -> int:
    """Stream rules (SQL), with REST at 127.0.0.1:9081, until SIGTERM or Ctrl-C.

    Example: opq-gateway rules --data-dir /var/lib/opq
    """
    log.configure("rules")
    logger = log.get(service="rules")
    stop = threading.Event()
    if port is None and path is None and port_offset:
        port = configuration.DEFAULT_PORT + port_offset
    try:
        config = configuration.load(path, data_dir, host, port)
        refuse_unfinished(configuration.data_folder(config))
        with stopped_by_signals(stop) as signals:
            place = network_setting("plugins", [path] if path else ())
            service = RulesService(config, stop.set, network_place=place)
            service.start()
            own = _note_meant(config, service.port, port_offset or 0)
            logger.info("rules.listening", address=configuration.address(config)[0], port=service.port)
            stop.wait()
            if signal.SIGINT in signals:  # Ctrl-C at a terminal: the rules are not to be restarted
                forget_after_ctrl_c(own, RULES)
            service.stop()
    except OpqError as error:
        click.echo(f"opq-gateway rules: {error}", err=True)
        return getattr(error, "exit_code", 1)
    except OSError as error:  # the data folder cannot be made or written
        click.echo(f"opq-gateway rules: {error}; give another folder by --data-dir", err=True)
        return 1
    return 0


def _note_meant(config: configuration.Config, port: int, port_offset: int) -> Path:
    """Notes that the rules are meant to run in their data folder; returns the folder."""
    folder = configuration.data_folder(config)
    try:
        note_meant(folder, [MeantService(RULES, url_of(config.endpoint, "/health", port), port_offset)])
    except OSError as error:  # the rules run without the note
        log.get(service="rules").warning("system.not_noted", error=str(error))
    return folder


def main(arguments: Sequence[str]) -> int:
    """Returns 0 after SIGTERM, 1: an address or folder is in use, 2: a wrong configuration."""
    try:
        code = run.main(list(arguments), prog_name="opq-gateway rules", standalone_mode=False)
    except click.UsageError as error:
        click.echo(usage_line(error, "opq-gateway rules"), err=True)
        return error.exit_code
    except click.exceptions.Exit as ended:
        return ended.exit_code
    return int(code or 0)
