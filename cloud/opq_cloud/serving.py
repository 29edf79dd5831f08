"""What `opq-cloud NAME` runs: the services of that name in this process, until a signal."""

import importlib
import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import click

from opq_cloud.core.backend.addresses import in_clear, make_missing_keys, missing_backend_keys, placed
from opq_cloud.core.descriptors import raise_descriptor_limit
from opq_cloud.core.meant_service import ONE_PER_FOLDER, ONE_PER_STORE, WHOLE, meant_service, note_running
from opq_cloud.core.original.original_settings import read_config, system_file
from opq_cloud.core.original.places import broker_sources, original_sources
from opq_cloud.core.runner import ServiceBoard, ServiceRunner
from opq_cloud.core.service import CloudContext, CloudService, HealthReport, ServiceCounters
from opq_cloud.core.settings.config import CloudConfig, CloudKeys
from opq_cloud.core.settings.endpoint_ports import with_port_offset
from opq_cloud.health.collector import HealthCollector
from opq_cloud.health.health_service import HealthService
from opq_cloud.health.neighbours import Neighbours
from opq_cloud.store import CloudStore, open_store, opened_people
from opq_cloud.store.passed_over import note_store, passed_over_store
from opq_cloud.store.service_lock import locked_documents, locked_files, locked_in_folder
from opq_proto.errors import KeyFileError, OpqError
from opq_proto.kit import log
from opq_proto.kit.ending import stopped_by_signals
from opq_proto.kit.http_server import url_of
from opq_proto.kit.system_place import default_data_dir
from opq_proto.kit.system_record import (
    CLOUD,
    GATEWAY,
    HEALTH,
    MeantService,
    SystemIdentity,
    forget_after_ctrl_c,
    identity_of,
    refuse_unfinished,
)
from opq_proto.kit.system_verdict import VERDICT_NAMES, WHOLE_SYSTEM

ROOMS: Mapping[str, Sequence[str]] = {
    "opq_cloud.makai.makai_service": (
        "triggering-broker",
        "acquisition-broker",
        "event-service",
        "triggering-service",
    ),
    "opq_cloud.mauka.mauka_service": ("mauka",),
    "opq_cloud.view.view_service": ("view",),
    "opq_cloud.notifications.notification_service": ("notifications",),
    "opq_cloud.update.update_server": ("update",),
}
"""Module with the function `services` -> the names of what it makes, in the order of their start in `all`."""
BROKERS = ("triggering-broker", "acquisition-broker")
"""What strangers and Boxes connect to."""


def names_of(command: str, without: Collection[str] = ()) -> list[str]:
    """Returns the services of `opq-cloud COMMAND`, without some; none: its health alone.

    Raises click.UsageError: there is no such service, or none is left.
    """
    every = [name for own in ROOMS.values() for name in own]
    if unknown := sorted(set(without) - set(every)):
        allowed = ", ".join(every)
        raise click.UsageError(f"--without: no service is called {', '.join(unknown)}; there are {allowed}")
    named = {"all": every, "all-but-brokers": [name for name in every if name not in BROKERS]}
    names = named.get(command, [name for name in every if name == command])
    left = [name for name in names if name not in without]
    if without and not left:
        raise click.UsageError("--without: no service is left")
    return left


def _made_services(
    names: Collection[str], config: CloudConfig, shared: CloudContext
) -> Iterator[CloudService]:
    """Makes the services of these names, each by its room, which is loaded now."""
    for module, own in ROOMS.items():
        wanted = [name for name in own if name in names]
        some = [wanted] if 0 < len(wanted) < len(own) else []
        if wanted:
            yield from importlib.import_module(module).services(config, shared, *some)


def files_of_system(data_dir: Path | None) -> tuple[Path, ...]:
    """Returns the configuration of the system in a data folder: for the link of its page, say."""
    found = system_file(data_dir or default_data_dir())
    return () if found is None else (found,)


def configured(
    command: str, files: Sequence[Path], data_dir: Path | None, embedded: Path | None, port_offset: int
) -> tuple[CloudConfig, Path]:
    """Reads the configuration of a command; returns it with the data folder. Raises OpqError."""
    sources = [] if files else original_sources(command)
    for source in sources:
        log.get().info("config.found", file=source.name)
    overrides = {} if data_dir is None else {"data_dir": str(data_dir)}
    config = read_config(files, overrides, embedded, sources, brokers=broker_sources(files))
    config = with_port_offset(config, port_offset)
    where = config.data_dir or default_data_dir()
    refuse_unfinished(where)
    return placed(config, where), where


def _elsewhere(config: CloudConfig) -> list[MeantService]:
    """Returns the services in other folders and on other machines that health asks."""
    found = [MeantService(each.name, each.url, here=False) for each in config.health.services]
    if config.health.gateway_endpoint:
        found.append(MeantService(GATEWAY, url_of(config.health.gateway_endpoint), here=False))
    return found


def _collector(
    command: str, config: CloudConfig, shared: CloudContext, data_dir: Path, board: ServiceBoard
) -> HealthCollector:
    own_name = CLOUD if command in WHOLE else command
    return HealthCollector(
        config.health,
        shared,
        Neighbours(own_name, identity_of(data_dir), _elsewhere(config), ServiceCounters()),
        config.store.data_dir or data_dir,
        CloudKeys(config.keys, data_dir),
        config.view.public_url,
        (lambda: board.health(WHOLE_SYSTEM)) if command in WHOLE else None,
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
    if command in WHOLE:
        endpoint, name = config.health.whole_endpoint, WHOLE_SYSTEM
    elif command == "health":
        endpoint, name = config.health.http_endpoint, WHOLE_SYSTEM
    else:
        endpoint = getattr(config, command.replace("-", "_")).health_endpoint
        name = VERDICT_NAMES.get(command, command)
    return HealthService(endpoint, board, name, command in (*WHOLE, "mauka"), alerts, system)


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


def _name_passed_over(config: CloudConfig, data_dir: Path) -> None:
    """Logs a store whose history is not shown, and notes the one that is used."""
    store = config.store
    if (found := passed_over_store(store.mongo_uri, store.data_dir or data_dir, data_dir)) is not None:
        log.get().warning("store.passed_over", problem=found.text, fix=found.fix)
    try:
        note_store(store.mongo_uri, data_dir)
    except OSError as error:  # it serves without a note
        log.get().warning("system.not_noted", error=str(error))


def _locked(
    names: Sequence[str], config: CloudConfig, data_dir: Path, shared: CloudContext, runner: ServiceRunner
) -> AbstractContextManager[None]:
    """Returns the locks that let one instance of each of these services work on the store."""
    if not names:
        return nullcontext()
    if config.store.mongo_uri:
        return locked_documents(names, lambda: shared.store.people.documents, runner.stop, runner.fail)
    return locked_files(names, config.store.data_dir or data_dir)


def run(
    command: str,
    names: Sequence[str],
    config: CloudConfig,
    data_dir: Path,
    port_offset: int = 0,
    files: Sequence[Path] = (),
) -> OpqError | None:
    """Runs until a signal; returns the error where it could not.

    `names`: of `names_of`; `port_offset`: of `config`'s addresses; `files`: those of `config`.
    """
    try:
        make_missing_keys(config, data_dir)
    except KeyFileError as error:
        return error
    for key, problem in missing_backend_keys(command, config):
        return KeyFileError(f"{key}: {problem}")
    keys = CloudKeys(config.keys, data_dir)
    private = data_dir, config.store.data_dir or data_dir, keys.root, keys.public_keys, keys.server_secret
    shared = CloudContext(lambda: _opened_store(config, data_dir), private, identity_of(data_dir), files)
    board = ServiceBoard(shared.unreadable, shared.store_problem)
    board.note = in_clear(command, config)
    if board.note is not None:
        log.get().warning("backend.in_clear", note=board.note)
    runner = ServiceRunner(board)
    raise_descriptor_limit()
    try:
        services = list(_made_services(names, config, shared))
        if not services and command == "update":
            return OpqError(f"{data_dir / 'updates'} is not there; `opq-tools release publish` makes it")
        alerts = None
        if command in (*WHOLE, "health"):
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
        left_out = [name for name in names_of("all") if name not in names]
        own = meant_service(command, config, port_offset, left_out)
        with (
            stopped_by_signals(runner.stop) as signals,
            locked_in_folder(in_folder, data_dir),
            _locked(single, config, data_dir, shared, runner),
        ):
            if "triggering-service" in names:
                _name_passed_over(config, data_dir)
            if runner.start(services):
                note_running(own, data_dir, [*names, HEALTH])
                log.get().info("cloud.ready", services=[service.name for service in services])
            ended = runner.wait()
            if signal.SIGINT in signals:  # a person stopped it at the terminal
                forget_after_ctrl_c(data_dir, own.name)
            if not ended:
                # A thread that hangs in a library would make the interpreter's own end undefined.
                os._exit(1 if runner.failure is None else runner.failure.exit_code)
    except OpqError as error:  # of a lock, whose store does not answer
        if not runner.stop.is_set():
            raise
        log.get().info("cloud.ended_before_start", error=str(error))
    finally:
        shared.close()
    return runner.failure


def print_first_admin(config: CloudConfig, data_dir: Path) -> OpqError | None:
    """Prints the link that makes the first administrator.

    Returns the error when no such link exists, because there is an account already; else None.
    """
    from opq_cloud.view.web.links import first_admin_link  # extra "cloud": argon2 and pyotp

    where = config.store.data_dir or data_dir
    with opened_people(config.store.mongo_uri, where) as people:
        link = first_admin_link(people, config.view.address or url_of(config.view.http_endpoint, ""))
    if link is None:
        return OpqError("there is an account already; an administrator can invite others on /admin/accounts")
    click.echo(link)
    return None
