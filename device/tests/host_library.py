"""C of the firmware built for the PC: the same files, the same warnings, plus a sanitizer.

`library` gives a ctypes library, `program` an executable. They are built once per content of the firmware's
C and kept in the cache beside the firmware, for every checkout; what was not used for two weeks is removed.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from opq_hil.backends.boards import Board
from opq_hil.backends.debian_source import cache_folder
from opq_proto.kit.whole_file import write_whole_file

DEVICE = Path(__file__).resolve().parent.parent
CMODULES = DEVICE / "cmodules"
COUNTED = os.environ.get("OPQ_C_COVERAGE", "")
"""Folder of builds that count how often each line runs, for gcov; empty: they count nothing."""
KEPT = Path(COUNTED) if COUNTED else cache_folder() / "host-c"
COUNTERS = ("--coverage", "-fprofile-update=atomic", "-fprofile-abs-path") if COUNTED else ()
KEPT_S = 14 * 24 * 3600.0
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wfloat-conversion", "-Werror")


@cache
def _compiler() -> str:
    found = shutil.which("cc") or shutil.which("gcc")
    if found is None:
        pytest.skip("no C compiler here: apt install gcc libc6-dev")
    return found


@cache
def _compiler_facts() -> str:
    done = subprocess.run([_compiler(), "--version"], capture_output=True, text=True, timeout=600, check=True)
    return f"{platform.machine()} {done.stdout}"


@cache
def _content(folder: Path) -> bytes:
    """Digest of all C files and headers in and below `folder`."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.[ch]")):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.digest()


def _key(sources: tuple[Path, ...], flags: tuple[str, ...]) -> str:
    """The same in every checkout with the same C: no path of this one is in it."""
    words = (_compiler_facts(), *WARNINGS, *flags, *map(str, sources))
    facts = hashlib.sha256("\n".join(words).replace(str(DEVICE), "device").encode())
    facts.update(_content(DEVICE))
    elsewhere = {
        *(source.parent for source in sources),
        *(Path(flag[2:]) for flag in flags if flag[:2] == "-I"),
    }
    for folder in sorted(elsewhere):
        if not folder.is_relative_to(DEVICE):
            facts.update(_content(folder))
    return facts.hexdigest()[:16]


def header_folder(board: Board) -> Path:
    """A folder with the board's `board.h`, for -I; the same for the same content."""
    text = board.header().encode()
    folder = cache_folder() / "host-boards" / hashlib.sha256(text).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "board.h").exists():
        write_whole_file(folder / "board.h", [text])
    return folder


def _build(name: str, sources: tuple[Path, ...], flags: tuple[str, ...], suffix: str) -> Path:
    KEPT.mkdir(parents=True, exist_ok=True)
    built = KEPT / f"{name}-{_key(sources, flags)}{suffix}"
    with built.with_name(f"{built.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if built.exists():
            built.touch()  # used
            return built
        includes = [f"-I{folder}" for folder in sorted(CMODULES.iterdir()) if folder.is_dir()]
        half = built.with_name(f"{built.name}.half")
        files = ("-o", str(half), *map(str, sources))
        command = [_compiler(), *WARNINGS, "-g", *COUNTERS, *flags, *includes, *files, "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            raise AssertionError(f"{name} does not build:\n{done.stderr}")
        half.rename(built)
    for old in KEPT.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if old.stat().st_mtime < time.time() - KEPT_S:
                old.unlink()
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


def plain_object(name: str, source: Path, *flags: str) -> Path:
    """An object of a source that is not ours, without a sanitizer: for Monocypher, one takes 20 s of CPU."""
    return _build(name, (source,), ("-O1", "-c", "-fPIC", *flags), ".o")
