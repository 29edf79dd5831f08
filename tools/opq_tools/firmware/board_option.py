"""The option that names a board of the user's own: of build, flash, hil run and debug.

(A separate file: `opq-tools flash` needs no compiler, which the other options of sources look for.)
"""

from pathlib import Path

import click

from opq_hil.backends.boards import FILE

board_dir_option = click.option(
    "--board-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True, resolve_path=True),
    metavar="DIR",
    help=f"Folder of a board of your own, with its {FILE}; the folder's name is the board's.",
)
