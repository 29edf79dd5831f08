"""A MongoDB in a back-up: as the two files of an embedded store, which go back into either kind.

`mongodump` writes what only `mongorestore` of a near version reads, and neither comes from PyPI or Debian.
Loaded only where a MongoDB is named: a gateway has no store.
"""

from contextlib import closing
from pathlib import Path

import click

from opq_cloud.store import open_store
from opq_cloud.store.upkeep.copying import copy_store
from opq_tools.keep.archive import STORE_FILES
from opq_tools.keep.store_command import shown_counts


def copy_from_mongo(mongo_uri: str, folder: Path) -> list[Path]:
    """Copies a MongoDB into an embedded store in `folder`; returns its files, which no process has open."""
    _copy(mongo_uri, None, folder, "back-up")
    return [folder / name for name in STORE_FILES if (folder / name).exists()]


def move_into_mongo(folder: Path, mongo_uri: str, origin: str) -> None:
    """Moves the embedded store of `folder` into an empty MongoDB; called again, it goes on."""
    _copy(None, mongo_uri, folder, origin)
    for name in STORE_FILES:
        (folder / name).unlink(missing_ok=True)


def _copy(source_uri: str | None, target_uri: str | None, folder: Path, origin: str) -> None:
    with (
        closing(open_store(source_uri, folder)) as source,
        closing(open_store(target_uri, folder)) as target,
        shown_counts(source) as shown,
    ):
        for line in copy_store(source, target, origin, shown).problems:
            click.echo(line, err=True)
