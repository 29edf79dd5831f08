"""The firmware's sources, and the copy of them that a build compiles and keeps beside its results."""

from pathlib import Path

from opq_hil.backends.our_sources import our_source
from opq_proto.kit.whole_file import write_whole_file

DEVICE = our_source("device")
ROOMS = ("app", "boot", "cmodules", "port")
"""Folders of device/ that a build reads. The wheel has these."""
COPY = "device"
"""Name of the copy in the folder of a build."""


def copy_sources(device: Path, copy: Path) -> None:
    """Makes `copy` equal to the rooms of `device`; a file with the same content keeps its time."""
    wanted = _source_files(device)
    for name in sorted(wanted):
        content, there = (device / name).read_bytes(), copy / name
        if not there.is_file() or there.read_bytes() != content:
            there.parent.mkdir(parents=True, exist_ok=True)
            write_whole_file(there, [content])
    for path in copy.rglob("*"):
        if path.is_file() and path.relative_to(copy) not in wanted:
            path.unlink()


def is_copy(copy: Path, device: Path = DEVICE) -> bool:
    """Whether `copy_sources` has made `copy` from sources with the content of `device`."""
    wanted = _source_files(device)
    return _source_files(copy) == wanted and all(
        (copy / name).read_bytes() == (device / name).read_bytes() for name in wanted
    )


def _source_files(device: Path) -> set[Path]:
    """The files of a build, relative to `device`."""
    return {
        path.relative_to(device)
        for room in ROOMS
        for path in (device / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
