"""The option that names a board of the user's own: of build, flash, hil run and debug.

(A separate file: `opq-tools flash` needs no compiler, which the other options of sources look for.)
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

from opq_hil.backends.boards import FILE, read_own_board

_F = TypeVar("_F", bound=Callable[..., Any])
_option = click.option(
    "--board-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True, resolve_path=True),
    metavar="DIR",
    help=f"Folder of a board of your own, with its {FILE}; the folder's name is the board's.",
)


def board_dir_option(command: _F) -> _F:
    """Adds `--board-dir`, which is refused beside `--board`, and as `read_own_board` does."""

    @functools.wraps(command)
    def checked(*arguments: Any, board_dir: Path | None, **options: Any) -> Any:
        if board_dir is not None:
            context = click.get_current_context()
            names = [each.name for each in context.command.params if "--board" in each.opts]
            if any(context.get_parameter_source(name or "") is ParameterSource.COMMANDLINE for name in names):
                raise click.UsageError("--board is for our boards, --board-dir for another; give one of them")
            read_own_board(board_dir)
        return command(*arguments, board_dir=board_dir, **options)

    return cast(_F, _option(checked))
