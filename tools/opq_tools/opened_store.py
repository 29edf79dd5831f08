"""The store of a running or a stopped cloud, opened for a command."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from opq_cloud.store import FILE_NAME, CloudStore, open_store
from opq_proto.errors import OpqError
from opq_proto.kit.command_line import data_dir_option, mongo_option
from opq_proto.kit.system_place import find_system


class StoreMissingError(OpqError):
    """There is no store at that place."""


@contextmanager
def opened_store(mongo_uri: str | None, data_dir: Path | None, make: bool = False) -> Iterator[CloudStore]:
    """Opens the store; a missing one is created only where `make` is set."""
    folder, _ = find_system(data_dir, None)
    if not make and mongo_uri is None and not (folder / FILE_NAME).exists():
        raise StoreMissingError(
            f"there is no store in {folder}; name its folder with --data-dir, or opq-tools restore a back-up"
        )
    store = open_store(mongo_uri, folder)
    try:
        yield store
    finally:
        store.close()


def store_command(function: Callable[..., None]) -> Callable[..., None]:
    """Adds --data-dir and --mongo-uri to a command; its function gets the store, open as long as it runs."""

    @wraps(function)
    def opened(*given: Any, data_dir: Path | None, mongo_uri: str | None, **named: Any) -> None:
        with opened_store(mongo_uri, data_dir) as store:
            function(store, *given, **named)

    return data_dir_option(mongo_option(opened))
