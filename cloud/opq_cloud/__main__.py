"""`opq-cloud`: the compact cloud tier, one service or all of them in one process."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import click

from opq_cloud.notifications.log_command import notifications_log
from opq_proto.errors import OpqError
from opq_proto.kit.command_line import CommandGroup
from opq_proto.kit.ending import end_at_signals, signals_by_default
from opq_proto.kit.shared_options import (
    configs_option,
    data_dir_option,
    new_data_dir_option,
    port_offset_option,
)
from opq_proto.kit.system_place import find_system
from opq_proto.kit.whole_file import write_whole_file

HELP = {
    "all": "Every service in this process; health of the whole on 8911.",
    "all-but-brokers": "Every service but the two brokers, which run apart; health of the whole on 8911.",
    "triggering-broker": "Measurements from Boxes (9880, CURVE) to subscribers (9881).",
    "acquisition-broker": "Commands (9884) to Boxes (8194, CURVE), answers (8196, CURVE) to 9899.",
    "event-service": "Waveforms into the store; finished events on 10000, event ids on 10001.",
    "triggering-service": "Measurements into the store, trigger plug-ins, acknowledgements.",
    "mauka": "Bus (9882, 9883) and analyses: findings and incidents.",
    "view": "The page on http://127.0.0.1:8888.",
    "notifications": "Notifications of incidents, silent Boxes and services; POST /notify on 8917.",
    "update": "Releases for gateways and Boxes from D/updates, on 8151, and their roll-outs.",
    "health": "Collects the health of services in other processes, and answers for all on 8912.",
}


WITHOUT_FILES = (
    "FILES are configuration files, as with --config. Without any, the configuration is read as by the "
    "original: from $TRIGGERING_BROKER_SETTINGS, $ACQUISITION_BROKER_SETTINGS, $MAKAI_SETTINGS, "
    "$MAUKA_SETTINGS, $HEALTH_SETTINGS, else from its files in /etc/opq."
)


def _with_first_admin(command: click.Command) -> click.Command:
    text = "Print the link that makes the first administrator (valid once, for a day), then end."
    command.params.append(click.Option(["--first-admin"], is_flag=True, help=text))
    return command


def _with_scheduler(command: click.Command) -> click.Command:
    text = "Analyse waiting events on a Dask scheduler's workers (tcp://HOST:PORT, or local:2), then end."
    command.params.append(click.Option(["--scheduler"], metavar="ADDRESS", help=text))
    return command


def _with_choice(command: click.Command) -> click.Command:
    text = "Services that do not run, e.g. view,notifications: their packages need not be installed."
    command.params.append(click.Option(["--without"], default="", metavar="NAMES", help=text))
    return command


def _command(name: str) -> click.Command:
    @click.command(
        name,
        short_help=HELP[name],
        help=f"{HELP[name]}\n\n{WITHOUT_FILES}\n\nExample: opq-cloud {name} --data-dir D",
    )
    @click.argument("files", type=click.Path(path_type=Path), nargs=-1)
    @configs_option
    @new_data_dir_option
    @port_offset_option
    @click.option(
        "--embedded",
        type=click.Path(path_type=Path),
        help="Folder of the embedded store, also where the configuration names a MongoDB.",
    )
    def command(
        files: tuple[Path, ...],
        paths: tuple[Path, ...],
        data_dir: Path | None,
        port_offset: int | None,
        embedded: Path | None,
        first_admin: bool = False,
        scheduler: str | None = None,
        without: str = "",
    ) -> None:
        from opq_cloud import serving  # not for --help, to which it would add half a second
        from opq_proto.kit import log

        if first_admin or scheduler is not None:
            signals_by_default()
        log.configure("cloud" if name in ("all", "all-but-brokers") else name)
        offset = port_offset or 0
        names = serving.names_of(name, [each.strip() for each in without.split(",") if each.strip()])
        failure: OpqError | None
        try:
            given = (*paths, *files) or (serving.files_of_system(data_dir) if first_admin else ())
            config, where = serving.configured(name, given, data_dir, embedded, offset)
            if scheduler is not None:
                bulk_run = importlib.import_module("opq_cloud.mauka.bulk.bulk_run")
                sys.exit(bulk_run.run_waiting(config, scheduler))
            if first_admin:
                failure = serving.print_first_admin(config, where)
            else:
                failure = serving.run(name, names, config, where, offset, (*paths, *files))
        except OpqError as error:
            failure = error
        if failure is not None:
            click.echo(f"opq-cloud {name}: {failure}", err=True)
            sys.exit(failure.exit_code)

    extended = {"all": _with_choice, "view": _with_first_admin, "mauka": _with_scheduler}
    return extended.get(name, lambda same: same)(command)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="opq-toolkit", prog_name="opq-cloud")
def cloud() -> None:
    """The OPQ toolkit's cloud: brokers, triggers, events, analyses, page.

    Example: opq-tools keygen --out D/curve --server --boxes 1,2; opq-cloud all --data-dir D
    """


class _WithPart(click.Command):
    """`opq-cloud mauka` runs it, as every other name does; `opq-cloud mauka graph` shows what runs."""

    def __init__(self, served: click.Command, part: click.Command, heading: str) -> None:
        more = f"{served.help}\n\n{heading}: opq-cloud {served.name} {part.name} --help"
        super().__init__(
            served.name,
            params=served.params,
            help=more,
            short_help=served.short_help,
            callback=served.callback,
        )
        self._part = part

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] == [self._part.name]:
            signals_by_default()
            return self._part.make_context(f"{info_name} {self._part.name}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command("graph")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw it into this file.")
@click.option("--endpoint", help="Address of the plug-in manager.  [default: that of the data folder]")
@data_dir_option
@port_offset_option
def _graph(svg: Path | None, endpoint: str | None, data_dir: Path | None, port_offset: int | None) -> None:
    """Show the plug-ins of a running Mauka with their inputs and outputs, as text or drawing.

    Example: opq-cloud mauka graph --svg mauka.svg
    """
    from opq_cloud.mauka.operating.graph import graph_svg, graph_text, read_nodes
    from opq_cloud.mauka.operating.manager_client import query_manager
    from opq_proto.kit.service_sockets import local_endpoint

    try:
        where = endpoint or local_endpoint("plugin-manager", *find_system(data_dir, port_offset))
        nodes = read_nodes(json.loads(query_manager("graph", where, wait_s=10.0)))
        if svg is not None:
            write_whole_file(svg, [graph_svg(nodes).encode()])
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OpqError as error:
        click.echo(f"opq-cloud mauka graph: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(graph_text(nodes) if svg is None else f"{svg}\n", nl=False)


PARTS = {
    "mauka": (_graph, "What runs"),
    "notifications": (notifications_log, "What was sent"),
}
"""Commands with a second word, by their first one."""
for _name in HELP:
    cloud.add_command(_WithPart(_command(_name), *PARTS[_name]) if _name in PARTS else _command(_name))


def main() -> None:
    """Entry point."""
    cloud(prog_name="opq-cloud")


if __name__ == "__main__":
    end_at_signals()
    main()
