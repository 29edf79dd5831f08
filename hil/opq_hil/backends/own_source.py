"""A source that the user has: a tarball, a git checkout or a folder, for machines without Debian's packages.

A tarball must have a checksum of pinned.py. A folder must have a version of our series; its content is
hashed, so that what changes in it is built again. If it is a checkout of a commit of pinned.py with nothing
changed, the note says so; otherwise the note says that there was no checksum to compare with.
"""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from opq_hil.backends.build_lock import locked
from opq_hil.backends.debian_source import SourceError, SourceTree, cache_folder
from opq_hil.backends.pinned import Pinned

NOT_HASHED = (".git", "roms", "__pycache__")
"""Names that no build of ours reads."""

ReadVersion = Callable[[Path], str | None]


def own_source(
    pinned: Pinned, path: Path, origin: str, read_version: ReadVersion, cache: Path | None = None
) -> SourceTree:
    """The source at `path`, checked.

    Args:
        origin: where the path was named, for errors, e.g. `--qemu-source`.
        read_version: folder -> version such as `10.0.3`; None: it is not this package.

    Raises:
        SourceError: it is not the package, or of another series, or its checksum is not known.
    """
    path = path.expanduser().resolve()
    if path.is_file():
        return _unpacked(pinned, path, origin, (cache or cache_folder()) / "sources")
    version = read_version(path)
    if version is None:
        raise SourceError(f"{origin} {path}: no source of {pinned.name}")
    if not version.startswith(f"{pinned.series}."):
        raise SourceError(f"{origin} {path}: {pinned.name} {version}; want {pinned.series}.x")
    tag = pinned.commits.get(_clean_commit(path))
    note = f"checkout of {tag}" if tag else f"from {path}, with no checksum to compare"
    return SourceTree(pinned.name, path, version, _content_sha256(path), note=note)


def _unpacked(pinned: Pinned, archive: Path, origin: str, sources: Path) -> SourceTree:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    name = pinned.tarballs.get(found)
    if name is None:
        known = ", ".join(f"{each} {sha256}" for sha256, each in pinned.tarballs.items())
        raise SourceError(
            f"{origin} {archive}: SHA-256 {found}; want {known}. Another release of "
            f"{pinned.series}: unpack it, look at it, and give its folder"
        )
    version = name.removeprefix(f"{pinned.name}-").removesuffix(".tar.xz")
    folder = sources / f"{pinned.name}-{version}-{found[:16]}"
    with locked(sources / f"{folder.name}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=sources, prefix=f".{pinned.name}-") as temporary:
                with tarfile.open(archive) as tar:
                    tar.extraction_filter = getattr(tarfile, "tar_filter", None)  # since 3.11.4
                    tar.extractall(temporary)
                (inside,) = Path(temporary).iterdir()
                inside.rename(folder)
    return SourceTree(pinned.name, folder, version, found, note=f"from {name}")


def _clean_commit(path: Path) -> str:
    """The commit that is checked out; empty where this is not a checkout, or something in it is changed."""
    git = shutil.which("git")
    if git is None or not (path / ".git").exists():
        return ""
    head, changes = (
        subprocess.run((git, "-C", str(path), *words), capture_output=True, text=True, check=False)
        for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
    )
    clean = head.returncode == changes.returncode == 0 and not changes.stdout
    return head.stdout.strip() if clean else ""


def _content_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(set(folders).difference(NOT_HASHED))
        for name in sorted(set(names).difference(NOT_HASHED)):
            file = Path(folder) / name
            digest.update(f"{file.relative_to(path)}\0".encode())
            if file.is_symlink():
                digest.update(str(file.readlink()).encode())
            elif file.is_file():
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
