"""The store of a running or a stopped cloud, opened for a command."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.original.config import read_config
from opq_cloud.store import FILE_NAME, CloudStore, open_store
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.decision import Nominal
from opq_proto.errors import OpqError
from opq_proto.kit.shared_options import data_dir_option, mongo_option
from opq_proto.kit.system_place import UNITS_DATA_DIR, find_system

UNITS_CONFIG = Path("/etc/opq/cloud.toml")


class StoreMissingError(OpqError):
    """There is no store at that place."""


def store_place(mongo_uri: str | None, data_dir: Path | None) -> tuple[str | None, Path]:
    """The MongoDB and the folder of a command's system: as given, else as its configuration names them.

    The configuration is that which `up` writes into the folder, or /etc/opq/cloud.toml of the units. One that
    cannot be read names nothing: `opq-tools config check` says why.
    """
    folder, config = _system(data_dir)
    if mongo_uri is not None or config is None:
        return mongo_uri, folder
    return config.store.mongo_uri, config.store.data_dir or folder


def stated_nominal(data_dir: Path | None) -> Nominal:
    """The nominal values that the system's configuration states for a Box that states none."""
    _, config = _system(data_dir)
    return DEFAULT_NOMINAL if config is None else config.nominal


def _system(data_dir: Path | None) -> tuple[Path, CloudConfig | None]:
    """The folder of a command's system, and its configuration; None where there is none to be read."""
    folder, _ = find_system(data_dir, None)
    of_units = [UNITS_CONFIG] if folder == UNITS_DATA_DIR else []
    path = next((each for each in (folder / "config" / "cloud.toml", *of_units) if each.is_file()), None)
    try:
        return folder, None if path is None else read_config([path], {}, notify=lambda _: None)
    except OpqError:
        return folder, None


@contextmanager
def opened_store(mongo_uri: str | None, data_dir: Path | None, make: bool = False) -> Iterator[CloudStore]:
    """Opens the store; a missing one is created only where `make` is set, and a line on stderr says so."""
    mongo_uri, folder = store_place(mongo_uri, data_dir)
    is_new = mongo_uri is None and not (folder / FILE_NAME).exists()
    if is_new and not make:
        raise _missing(folder)
    store = open_store(mongo_uri, folder)
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
        return open_store(mongo_uri, folder, untouched=True)
    if not (folder / FILE_NAME).exists():
        raise _missing(folder)
    from opq_cloud.store.embedded.store import EmbeddedStore  # 20 ms, which most commands here do not need

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
