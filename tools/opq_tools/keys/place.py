"""The key folder that a command of `opq-tools keys` works on, and the store's log of changes.

Each option writes into the command's KeyPlace, so that a command has one parameter instead of many.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from opq_cloud.operations.command_audit import key_values, note_in_store
from opq_proto.errors import KeyFileError, StoreError
from opq_proto.keys.register import KeyRegister
from opq_proto.kit.shared_options import common_option, existing_folder
from opq_proto.kit.system_place import find_system
from opq_proto.kit.system_record import refuse_unfinished

Decorated = TypeVar("Decorated", bound=Callable[..., object])
NO_KEY: Mapping[str, object] = {"key": "none"}
Change = tuple[str, str, Mapping[str, object], Mapping[str, object]]
"""(what was done, to whom, values before, values after)."""


@dataclass(slots=True)
class KeyPlace:
    """Options of one command."""

    folder: Path | None = None
    data_dir: Path | None = None
    mongo_uri: str | None = None
    as_json: bool = False

    def key_folder(self, name: str) -> Path:
        """`--keys`, or the folder of this name in the data folder."""
        return self.folder or self.data_folder() / name

    def key_folder_to_fill(self, name: str) -> Path:
        """As `key_folder`, for a command that may create it; a line on stderr then says so."""
        folder = self.key_folder(name)
        if not folder.exists():
            click.echo(f"opq-tools keys: there was no key folder {folder}; made a new one", err=True)
        return folder

    def data_folder(self) -> Path:
        """`--data-dir`, or the folder of the running system, or the default one.

        Raises:
            UnfinishedRestoreError: a restore was broken off there.
        """
        folder = find_system(self.data_dir, None)[0]
        refuse_unfinished(folder)
        return folder

    def note(self, changes: Sequence[Change]) -> None:
        """Writes to the log of changes, if there is a store; reports on stderr where that fails."""
        beside = self.data_folder() if self.folder is None else self.folder.parent
        try:
            note_in_store(self.mongo_uri, self.data_dir or beside, list(changes))
        except StoreError as error:
            click.echo(f"opq-tools keys: done, but not in the log of changes: {error}", err=True)


pass_place = click.make_pass_decorator(KeyPlace, ensure=True)


def _into_place(context: click.Context, option: click.Parameter, value: Any) -> None:
    setattr(context.ensure_object(KeyPlace), str(option.name), value)


def _existing_into_place(context: click.Context, option: click.Parameter, folder: Path | None) -> None:
    _into_place(context, option, existing_folder(context, option, folder))


def _place_option(*names: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    return click.option(*names, **_INTO_PLACE, **attributes)


_INTO_PLACE: Mapping[str, Any] = {"callback": _into_place, "expose_value": False}


def keys_option(default: str) -> Callable[[Decorated], Decorated]:
    """The option `--keys`; `default` is for its help text."""
    path = click.Path(file_okay=False, path_type=Path)
    return _place_option("--keys", "folder", type=path, help=f"Key folder.  [default: {default}]")


data_dir_option = common_option("--data-dir", callback=_existing_into_place, expose_value=False)
new_data_dir_option = common_option("--data-dir", **_INTO_PLACE)
json_option = common_option("--json", **_INTO_PLACE)


def mongo_option(
    text: str = "URI of the store that gets the log entry, where it is a MongoDB.",
) -> Callable[[Decorated], Decorated]:
    """The option `--mongo-uri`; `text` is its help."""
    return _place_option("--mongo-uri", help=text)


class KeyLog:
    """Records what a command changes in a register, for the log of changes."""

    def __init__(self, place: KeyPlace, register: KeyRegister, what: str, whose: str) -> None:
        """`whose`: prefix of each name, "box" or "services"."""
        self._place, self._register, self._what, self._whose = place, register, what, whose
        self._before = self._values()

    def write(self, names: Collection[str]) -> None:
        """Logs the changes of these names."""
        before, after = self._before, self._values()
        self._place.note(
            [
                (self._what, f"{self._whose} {name}", before.get(name, NO_KEY), after.get(name, NO_KEY))
                for name in names
            ]
        )

    def _values(self) -> dict[str, Mapping[str, object]]:
        try:
            entries = self._register.entries()[0]
        except KeyFileError:
            return {}
        return {each.box_id: key_values(each) for each in entries}
