"""C of the firmware built for the PC: the same files, the same warnings, plus a sanitizer.

`library` gives a ctypes library, `program` an executable; both are built once per content of
their sources and kept for the test session, for all of its workers.
"""

import atexit
import ctypes
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

DEVICE = Path(__file__).resolve().parent.parent
CMODULES = DEVICE / "cmodules"
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wfloat-conversion", "-Werror")


@cache
def _folder() -> Path:
    if shared := os.environ.get("OPQ_HOST_C"):  # of conftest.py, which removes it
        return Path(shared)
    folder = Path(tempfile.mkdtemp(prefix="opq-host-c-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _compiler() -> str:
    found = shutil.which("cc") or shutil.which("gcc")
    if found is None:
        pytest.skip("no C compiler here: apt install gcc libc6-dev")
    return found


def _build(name: str, sources: tuple[Path, ...], flags: tuple[str, ...], suffix: str) -> Path:
    facts = hashlib.sha256(repr(flags).encode())
    for source in sources:
        facts.update(str(source).encode() + source.read_bytes())
    built = _folder() / f"{name}-{facts.hexdigest()[:16]}{suffix}"
    with built.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not built.exists():
            includes = [f"-I{folder}" for folder in sorted(CMODULES.iterdir()) if folder.is_dir()]
            half = built.with_suffix(".half")
            command = [
                _compiler(),
                *WARNINGS,
                "-g",
                *flags,
                *includes,
                "-o",
                str(half),
                *map(str, sources),
                "-lm",
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
            if done.returncode:
                raise AssertionError(f"{name} does not build:\n{done.stderr}")
            half.rename(built)
    return built


def library(name: str, sources: Sequence[Path], *flags: str, optimise: str = "-O2") -> ctypes.CDLL:
    """A shared library of `sources`; undefined behaviour ends the process with its place on stderr."""
    ubsan = ("-fsanitize=undefined", "-fno-sanitize-recover=all")
    path = _build(name, tuple(sources), (optimise, "-shared", "-fPIC", *ubsan, *flags), ".so")
    return ctypes.CDLL(str(path))


def program(name: str, sources: Sequence[Path], *flags: str, optimise: str = "-O1") -> Path:
    """An executable of `sources` under the address and undefined-behaviour sanitizers."""
    asan = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
    return _build(name, tuple(sources), (optimise, *asan, *flags), "")
