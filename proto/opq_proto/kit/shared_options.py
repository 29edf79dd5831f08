"""The options that mean the same in every command of the three programs."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from opq_proto.kit.ports import PORTS
from opq_proto.kit.whole_file import link_problem

FC = TypeVar("FC", bound="Callable[..., Any] | click.Command")
"""What a decorator for an option can be used on."""
MAX_OFFSET = 65_535 - max(PORTS.values())
"""The largest `--port-offset` with which every port number is valid."""


def _readable(context: click.Context, parameter: click.Parameter, folder: Path | None) -> Path | None:
    if folder is not None and (problem := link_problem(folder)):
        raise click.BadParameter(problem)
    if folder is not None and os.access(folder, os.F_OK) and not os.access(folder, os.R_OK | os.X_OK):
        raise click.BadParameter(f"Directory {str(folder)!r} is not readable")
    return folder


def existing_folder(context: click.Context, parameter: click.Parameter, folder: Path | None) -> Path | None:
    """The folder that was typed; one that is not there would lead to the addresses of another system.

    Raises:
        click.BadParameter: it is not there, or closed to this user.
    """
    if folder is not None:
        try:
            folder.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise click.BadParameter(link_problem(folder) or f"there is no folder {folder}") from None
        except OSError:
            pass  # one above it is closed to this user: the command says what helps
    return _readable(context, parameter, folder)


_SHARED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "--config": (
        "config_path",
        {
            "type": click.Path(path_type=Path),
            "help": "Configuration file: TOML, or the original's JSON (docs/configuration.md).",
        },
    ),
    "--data-dir": (
        "data_dir",
        {
            "type": click.Path(path_type=Path, file_okay=False, readable=False),
            "callback": existing_folder,
            "help": "Folder of keys, rings, store and logs.  [default: ${XDG_DATA_HOME:-~/.local/share}/opq; "
            "of a command about a running system: its folder]",
        },
    ),
    "--mongo-uri": (
        "mongo_uri",
        {"help": "URI of the store where it is a MongoDB, e.g. mongodb://host/opq."},
    ),
    "--port-offset": (
        "port_offset",
        {
            "type": click.IntRange(0, MAX_OFFSET),
            "help": "Number that the system adds to every port.  [default: 0; of a command about a running "
            "system: its number]",
        },
    ),
    "--json": ("as_json", {"is_flag": True, "help": "Print one JSON document on stdout."}),
}
"""Options that mean the same in every command -> (parameter, attributes), in the order of a help text."""


class SharedOption(click.Option):
    """An option that is learnt once: same name, words and place in every command."""


def shared_last(command: click.Command) -> None:
    """Puts the shared options of a command behind its own, in the order of this module."""
    order = {name: place for place, name in enumerate(_SHARED, 1)}

    def place(parameter: click.Parameter) -> int:
        return order.get(parameter.opts[0], 0) if isinstance(parameter, SharedOption) else 0

    command.params.sort(key=place)


def common_option(name: str, parameter: str = "", **attributes: Any) -> Callable[[FC], FC]:
    """Returns one of the options that mean the same in every command; its value is None where not given.

    Args:
        parameter: the command's parameter, where it is not the usual one.
    """
    usual, common = _SHARED[name]
    return click.option(name, parameter or usual, cls=SharedOption, **{**common, **attributes})


config_option = common_option("--config")
configs_option = common_option("--config", "paths", multiple=True)
json_option = common_option("--json")
data_dir_option = common_option("--data-dir")
new_data_dir_option = common_option("--data-dir", callback=_readable)
"""Of a command that makes the folder, or looks at what will start there."""
any_data_dir_option = common_option("--data-dir", callback=None)
"""Also a folder that this user may not read: the command says what helps."""
mongo_option = common_option("--mongo-uri")
port_offset_option = common_option("--port-offset")
