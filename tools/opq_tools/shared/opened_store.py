"""The store of a running or a stopped cloud, opened for a command, and the Boxes that it knows."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from opq_cloud.core.original.original_settings import read_config, system_file
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.store import FILE_NAME, CloudStore, open_store
from opq_cloud.store.box_record import box_order
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.store.passed_over import PassedOverStore, passed_over_store
from opq_cloud.store.trends.pyramid import LEVELS_MS
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.decision import Nominal
from opq_proto.errors import OpqError
from opq_proto.kit.shared_options import data_dir_option, mongo_option
from opq_proto.kit.system_place import (
    WhichSystemError,
    default_data_dir,
    find_system,
)
from opq_proto.kit.system_record import refuse_unfinished
from opq_tools.shared.moment import LATEST_NS

SHOWN_ANSWER_S = 10.0
"""Commands that say how a system is wait for an answer of its MongoDB for this time."""
COMMAND_ANSWER_S = 600.0
"""Other commands do so; making an index of a large database takes minutes."""
MOST_LISTED = 20
"""Known Boxes that an error lists."""


class StoreMissingError(OpqError):
    """There is no store at that place."""


class BoxNotKnownError(OpqError):
    """The store has no facts and no data of a Box with this id."""


def store_place(mongo_uri: str | None, data_dir: Path | None) -> tuple[str | None, Path]:
    """The MongoDB and the folder of a command's system: as given, else as its configuration names them.

    The configuration is that which `up` writes into the folder, or /etc/opq/cloud.toml of the units. One that
    cannot be read names nothing: `opq-tools config check` says why. Where a MongoDB is named, the
    user does not have to say which one of several systems is meant.

    Raises:
        StoreMissingError: the MongoDB's address is empty.
        WhichSystemError: several systems run, and nothing says which one.
        UnfinishedRestoreError: a restore was broken off in the folder that is taken.
    """
    if mongo_uri is not None:
        if not mongo_uri.strip():
            raise StoreMissingError("--mongo-uri is empty; give mongodb://HOST/NAME, or leave it out")
        return mongo_uri, _folder_beside(data_dir)
    folder, config = configured_system(data_dir)
    refuse_unfinished(folder)  # a MongoDB has a part of the back-up only, too
    if config is None:
        return None, folder
    place = config.store.data_dir or folder
    refuse_unfinished(place)
    return config.store.mongo_uri, place


def _folder_beside(data_dir: Path | None) -> Path:
    """The folder of a command whose store is named by itself; the default one where several systems run."""
    try:
        return find_system(data_dir, None)[0]
    except WhichSystemError:
        return default_data_dir()


def stated_nominal(data_dir: Path | None) -> Nominal:
    """The nominal values that the system's configuration states for a Box that states none."""
    try:
        _, config = configured_system(data_dir)
    except WhichSystemError:  # the store was named by itself
        return DEFAULT_NOMINAL
    return DEFAULT_NOMINAL if config is None else config.nominal


def configured_system(data_dir: Path | None) -> tuple[Path, CloudConfig | None]:
    """The folder of a command's system, and its configuration; None where there is none to be read."""
    folder, _ = find_system(data_dir, None)
    path = system_file(folder)
    try:
        return folder, None if path is None else read_config([path], {}, notify=lambda _: None)
    except OpqError:
        return folder, None


def passed_over(data_dir: Path) -> PassedOverStore | None:
    """The store of a data folder whose history its configuration passes over."""
    folder, config = configured_system(data_dir)
    if config is None:
        return None
    return passed_over_store(config.store.mongo_uri, config.store.data_dir or folder, folder)


@contextmanager
def opened_store(mongo_uri: str | None, data_dir: Path | None, make: bool = False) -> Iterator[CloudStore]:
    """Opens the store; a missing one is created only where `make` is set, and a line on stderr says so."""
    mongo_uri, folder = store_place(mongo_uri, data_dir)
    is_new = False
    if mongo_uri is None:
        is_new = not (folder / FILE_NAME).exists()
    if is_new and not make:
        raise _missing(folder)
    store = open_store(mongo_uri, folder, answer_s=COMMAND_ANSWER_S)
    if is_new:
        click.echo(f"opq-tools: there was no store in {folder}; made a new one", err=True)
    try:
        yield store
    finally:
        store.close()


def store_to_show(data_dir: Path, busy_s: float) -> CloudStore:
    """Opens the store that a data folder's configuration names; SQLite waits for a lock `busy_s` at most.

    Raises:
        StoreMissingError: there is none.
        StoreError: it cannot be read.
    """
    mongo_uri, folder = store_place(None, data_dir)
    if mongo_uri is not None:
        return open_store(mongo_uri, folder, untouched=True, answer_s=SHOWN_ANSWER_S)
    if not (folder / FILE_NAME).exists():
        raise _missing(folder)
    # 20 ms, which most commands here do not need
    from opq_cloud.store.embedded.embedded_store import EmbeddedStore

    return EmbeddedStore(folder / FILE_NAME, busy_s=busy_s)


def _missing(folder: Path) -> StoreMissingError:
    return StoreMissingError(
        f"there is no store in {folder}; name its folder with --data-dir, or opq-tools restore a back-up"
    )


def store_command(function: Callable[..., None]) -> Callable[..., None]:
    """Adds --data-dir and --mongo-uri to a command; its function gets the store, open as long as it runs."""

    @wraps(function)
    def opened(*given: Any, data_dir: Path | None, mongo_uri: str | None, **named: Any) -> None:
        with opened_store(mongo_uri, data_dir) as store:
            function(store, *given, **named)

    return data_dir_option(mongo_option(opened))


def check_known_boxes(store: CloudStore, box_ids: Iterable[str], more: Iterable[str] = ()) -> None:
    """Refuses a Box without facts and data in the store; "" stands for none, and `more` are known as well.

    Raises:
        BoxNotKnownError: one is not known; the text lists those that are.
    """
    known = {*more}
    for box_id in box_ids:
        if box_id and box_id not in known and store.box(box_id) is None and not _has_data(store, box_id):
            raise box_not_known(store, box_id, known)


def box_not_known(store: CloudStore, box_id: str, more: Iterable[str] = ()) -> BoxNotKnownError:
    """The error that lists the known Boxes, and `more`."""
    ids = sorted({*_ids_known_by_data(store), *(each.box_id for each in store.boxes()), *more}, key=box_order)
    listed = ", ".join(ids[:MOST_LISTED]) or "none"
    rest = f" and {len(ids) - MOST_LISTED} more" if len(ids) > MOST_LISTED else ""
    return BoxNotKnownError(
        f"Box {box_id[:60]} is not known; known: {listed}{rest}. opq-tools boxes set ID makes one known"
    )


def _ids_known_by_data(store: CloudStore) -> set[str]:
    return {*store.latest_measurements(), *store.intervals.box_ids()}


def _has_data(store: CloudStore, box_id: str) -> bool:
    """Whether anything of a Box without facts is stored."""
    if box_id in _ids_known_by_data(store) or store.find_incidents(IncidentFilter(box_id=box_id), 1):
        return True
    if store.intervals.disturbances(box_id, 0, LATEST_NS):
        return True
    if store.phenomena(0, LATEST_NS // 10**6, box_id):
        return True
    with store.driver.read() as documents:
        return any(box_id in documents.trends.spans(length_ms) for length_ms in LEVELS_MS)
