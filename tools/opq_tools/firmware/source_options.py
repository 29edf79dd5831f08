"""Options that name a source which the user has; three commands have them, so they are here.

What builds is deep below a command, in `up` in other processes too, and reads a variable of the environment.
So an option sets the variable for this run.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from opq_hil.backends.pinned import MICROPYTHON, QEMU
from opq_hil.backends.qemu_build import VARIABLE as QEMU_VARIABLE
from opq_tools.firmware.toolchain import VARIABLE as MICROPYTHON_VARIABLE

Command = Callable[..., Any]


def _sets(variable: str) -> Callable[[click.Context, click.Parameter, Path | None], None]:
    def set_variable(_context: click.Context, _option: click.Parameter, path: Path | None) -> None:
        if path is not None:
            os.environ[variable] = str(path)

    return set_variable


def _option(name: str, variable: str, what: str) -> Callable[[Command], Command]:
    return click.option(
        name,
        type=click.Path(path_type=Path, exists=True),
        expose_value=False,
        callback=_sets(variable),
        metavar="PATH",
        help=f"{what} as tarball, checkout or folder, instead of Debian's source package. [${variable}]",
    )


micropython_option = _option(
    "--micropython", MICROPYTHON_VARIABLE, f"MicroPython {MICROPYTHON.series}.x from its makers,"
)
qemu_source_option = _option("--qemu-source", QEMU_VARIABLE, f"QEMU {QEMU.series}.x from its makers,")
