"""`opq-cloud`: the compact cloud tier, one service or all of them in one process."""

import gc
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from opq_cloud.core.backend.addresses import in_clear, missing_backend_keys, with_backend_keys
from opq_cloud.core.meant_service import ONE_PER_FOLDER, ONE_PER_STORE, meant_service, note_running
from opq_cloud.core.runner import ServiceBoard, ServiceRunner, raise_descriptor_limit
from opq_cloud.core.service import CloudContext, CloudService, HealthReport, ServiceCounters
from opq_cloud.core.settings.config import CloudConfig, CloudKeys
from opq_cloud.core.settings.endpoint_ports import with_port_offset
from opq_cloud.health.collector import HealthCollector
from opq_cloud.health.neighbours import Neighbours
from opq_cloud.health.server import HealthService
from opq_cloud.notifications.log_command import notifications_log
from opq_cloud.original.config import read_config
from opq_cloud.original.places import broker_sources, original_sources
from opq_cloud.store import CloudStore, open_store, opened_people
from opq_cloud.store.service_lock import locked_documents, locked_files, locked_in_folder
from opq_proto.errors import KeyFileError, OpqError
from opq_proto.kit import log
from opq_proto.kit.command_line import CommandGroup
from opq_proto.kit.ending import stopped_by_signals
from opq_proto.kit.http_server import url_of
from opq_proto.kit.ports import with_offset
from opq_proto.kit.shared_options import configs_option, data_dir_option, port_offset_option
from opq_proto.kit.system_place import default_data_dir, find_system
from opq_proto.kit.system_record import (
    CLOUD,
    GATEWAY,
    MeantService,
    SystemIdentity,
    forget_after_ctrl_c,
    identity_of,
)
from opq_proto.kit.system_verdict import VERDICT_NAMES, WHOLE_SYSTEM
from opq_proto.kit.whole_file import write_whole_file

ROOMS: Mapping[str, Sequence[str]] = {
    "opq_cloud.makai.service": (
        "triggering-broker",
        "acquisition-broker",
        "event-service",
        "triggering-service",
    ),
    "opq_cloud.mauka.service": ("mauka",),
    "opq_cloud.view.service": ("view",),
    "opq_cloud.notifications.service": ("notifications",),
    "opq_cloud.update.service": ("update",),
}
"""Module with the function `services` -> the names of what it makes, in the order of their start in `all`."""


def _made_services(
    names: Collection[str], config: CloudConfig, shared: CloudContext
) -> Iterator[CloudService]:
    """Makes the services of these names, each by its room, which is loaded now."""
    for module, own in ROOMS.items():
        wanted = [name for name in own if name in names]
        some = [wanted] if 0 < len(wanted) < len(own) else []
        if wanted:
            yield from importlib.import_module(module).services(config, shared, *some)


HELP = {
    "all": "Every service in this process; health of the whole on 8911.",
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


def _elsewhere(config: CloudConfig) -> list[MeantService]:
    """Returns the services in other folders and on other machines that health asks."""
    found = [MeantService(each.name, each.url, here=False) for each in config.health.services]
    if config.health.gateway_endpoint:
        found.append(MeantService(GATEWAY, url_of(config.health.gateway_endpoint), here=False))
    return found


def _collector(
    command: str, config: CloudConfig, shared: CloudContext, data_dir: Path, board: ServiceBoard
) -> HealthCollector:
    own_name = CLOUD if command == "all" else command
    return HealthCollector(
        config.health,
        shared,
        Neighbours(own_name, identity_of(data_dir), _elsewhere(config), ServiceCounters()),
        config.store.data_dir or data_dir,
        CloudKeys(config.keys, data_dir).server_secret,
        config.view.public_url,
        (lambda: board.health(WHOLE_SYSTEM)) if command == "all" else None,
    )


def health_of(
    command: str,
    config: CloudConfig,
    board: ServiceBoard,
    alerts: Callable[[], HealthReport] | None = None,
    system: SystemIdentity | None = None,
) -> HealthService | None:
    """Returns the HTTP health of the services that run; View and update alone have their own."""
    if command in ("view", "update"):
        return None
    if command == "all":
        endpoint, name = config.health.whole_endpoint, WHOLE_SYSTEM
    elif command == "health":
        endpoint, name = config.health.http_endpoint, WHOLE_SYSTEM
    else:
        endpoint = getattr(config, command.replace("-", "_")).health_endpoint
        name = VERDICT_NAMES.get(command, command)
    return HealthService(endpoint, board, name, command in ("all", "mauka"), alerts, system)


def _opened_store(config: CloudConfig, data_dir: Path) -> CloudStore:
    """Opens the store; Measurements are kept as long as the configuration says, as in the C++ generation."""
    store = open_store(config.store.mongo_uri, config.store.data_dir or data_dir)
    kept_s, ttls = config.store.measurements_s, store.ttls()
    if kept_s is not None and kept_s != ttls.measurements:
        store.put_ttls(replace(ttls, measurements=kept_s))
        log.get().info("laha_config.changed", measurements_s=kept_s, before_s=ttls.measurements)
    store.keep_minutes(config.store.minutes_days)
    store.intervals.keep(config.store.intervals_days)
    return store


def _locked(
    names: Sequence[str], config: CloudConfig, data_dir: Path, shared: CloudContext, runner: ServiceRunner
) -> AbstractContextManager[None]:
    """Returns the locks that let one instance of each of these services work on the store."""
    if not names:
        return nullcontext()
    if config.store.mongo_uri:
        return locked_documents(names, lambda: shared.store.people.documents, runner.stop, runner.fail)
    return locked_files(names, config.store.data_dir or data_dir)


def run(command: str, config: CloudConfig, data_dir: Path, port_offset: int = 0) -> OpqError | None:
    """Runs until a signal; returns the error where it could not. `port_offset`: of `config`'s addresses."""
    for key, problem in missing_backend_keys(command, config):
        return KeyFileError(f"{key}: {problem}")
    keys = CloudKeys(config.keys, data_dir)
    private = data_dir, config.store.data_dir or data_dir, keys.root, keys.public_keys, keys.server_secret
    shared = CloudContext(lambda: _opened_store(config, data_dir), private, identity_of(data_dir))
    board = ServiceBoard(shared.unreadable)
    board.note = in_clear(command, config)
    if board.note is not None:
        log.get().warning("backend.in_clear", note=board.note)
    runner = ServiceRunner(board)
    raise_descriptor_limit()
    names = [name for own in ROOMS.values() for name in own if command in ("all", name)]
    try:
        services = list(_made_services(names, config, shared))
        if not services and command == "update":
            return OpqError(f"{data_dir / 'updates'} is not there; `opq-tools release publish` makes it")
        alerts = None
        if command in ("all", "health"):
            collector = _collector(command, config, shared, data_dir, board)
            services.append(collector)
            alerts = collector.alerts
        health = health_of(command, config, board, alerts, shared.system)
        if health is not None:
            services.append(health)
        single = [name for name in names if name in ONE_PER_STORE]
        in_folder = [name for name in names or [command] if name in ONE_PER_FOLDER]
        store_dir = config.store.data_dir or data_dir
        if config.store.mongo_uri or store_dir.resolve() != data_dir.resolve():
            in_folder += single  # the record has one entry for each service of any store
        own = meant_service(command, config, port_offset)
        with (
            stopped_by_signals(runner.stop) as signals,
            locked_in_folder(in_folder, data_dir),
            _locked(single, config, data_dir, shared, runner),
        ):
            if runner.start(services):
                note_running(own, data_dir)
                log.get().info("cloud.ready", services=[service.name for service in services])
            gc.freeze()  # imported objects stay, and a collection that searches them takes 40 ms
            gc.set_threshold(10_000, 20, 20)  # as in the gateway: Measurements are not reference cycles
            ended = runner.wait()
            if signal.SIGINT in signals:  # a person stopped it at the terminal
                forget_after_ctrl_c(data_dir, own.name)
            if not ended:
                # a thread that hangs in a library would make the interpreter's own end undefined
                os._exit(1 if runner.failure is None else runner.failure.exit_code)
    finally:
        shared.close()
    return runner.failure


WITHOUT_FILES = (
    "FILES are configuration files, as with --config. Without any, the configuration is read as by the "
    "original: from $TRIGGERING_BROKER_SETTINGS, $ACQUISITION_BROKER_SETTINGS, $MAKAI_SETTINGS, "
    "$MAUKA_SETTINGS, $HEALTH_SETTINGS, else from its files in /etc/opq."
)


def print_first_admin(config: CloudConfig, data_dir: Path) -> OpqError | None:
    """Prints the link that makes the first administrator.

    Returns the error when no such link exists, because there is an account already; else None.
    """
    from opq_cloud.view.web.links import first_admin_link

    where = config.store.data_dir or data_dir
    with opened_people(config.store.mongo_uri, where) as people:
        link = first_admin_link(people, config.view.public_url or url_of(config.view.http_endpoint, ""))
    if link is None:
        return OpqError("there is an account already; an administrator can invite others on /admin/accounts")
    click.echo(link)
    return None


def _with_first_admin(command: click.Command) -> click.Command:
    text = "Print the link that makes the first administrator (valid once, for a day), then end."
    command.params.append(click.Option(["--first-admin"], is_flag=True, help=text))
    return command


def _with_scheduler(command: click.Command) -> click.Command:
    text = "Analyse waiting events on a Dask scheduler's workers (tcp://HOST:PORT, or local:2), then end."
    command.params.append(click.Option(["--scheduler"], metavar="ADDRESS", help=text))
    return command


def _command(name: str) -> click.Command:
    @click.command(
        name,
        short_help=HELP[name],
        help=f"{HELP[name]}\n\n{WITHOUT_FILES}\n\nExample: opq-cloud {name} --data-dir D",
    )
    @click.argument("files", type=click.Path(path_type=Path), nargs=-1)
    @configs_option
    @data_dir_option
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
    ) -> None:
        log.configure("cloud" if name == "all" else name)
        overrides: dict[str, object] = {}
        if data_dir is not None:
            overrides["data_dir"] = str(data_dir)
        try:
            named = (*paths, *files)
            sources = [] if named else original_sources(name)
            for source in sources:
                log.get().info("config.found", file=source.name)
            config = read_config(named, overrides, embedded, sources, brokers=broker_sources(named))
            config = with_port_offset(config, port_offset or 0)
            where = config.data_dir or default_data_dir()
            config = with_backend_keys(config, where)
            if scheduler is not None:
                sys.exit(importlib.import_module("opq_cloud.mauka.bulk.run").run_waiting(config, scheduler))
            offset = port_offset or 0
            failure = print_first_admin(config, where) if first_admin else run(name, config, where, offset)
        except OpqError as error:
            failure = error
        if failure is not None:
            click.echo(f"opq-cloud {name}: {failure}", err=True)
            sys.exit(failure.exit_code)

    return {"view": _with_first_admin, "mauka": _with_scheduler}.get(name, lambda same: same)(command)


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
            return self._part.make_context(f"{info_name} {self._part.name}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command("graph")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw it into this file.")
@click.option("--endpoint", help="Address of the plug-in manager.  [default: tcp://127.0.0.1:12000]")
@data_dir_option
@port_offset_option
def _graph(svg: Path | None, endpoint: str | None, data_dir: Path | None, port_offset: int | None) -> None:
    """Show the plug-ins of a running Mauka with their inputs and outputs, as text or drawing.

    Example: opq-cloud mauka graph --svg mauka.svg
    """
    from opq_cloud.mauka.operating.graph import graph_svg, graph_text, read_nodes
    from opq_cloud.mauka.operating.plugin_commands import query_manager

    try:
        offset = find_system(data_dir, port_offset)[1]
        where = endpoint or f"tcp://127.0.0.1:{with_offset('plugin_manager', offset)}"
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
    main()
