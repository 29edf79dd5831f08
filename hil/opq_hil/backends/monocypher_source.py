"""Monocypher's source, for the boot loader's Ed25519: from a Python package's source archive, by pip.

No suite of Debian's mirrors holds its package `monocypher`. `pymonocypher` contains the one
C file of Monocypher 4.0.3, and pip fetches it wherever pip works, pinned by its SHA-256. (Debian's libsodium
was the alternative: 40 files and a configure script for the same result.) `MONOCYPHER_DIR` names a folder
with monocypher.c and monocypher.h to use instead.
"""

import hashlib
import os
import sys
import tarfile
import tempfile
from pathlib import Path

from opq_hil.backends.build_lock import locked
from opq_hil.backends.build_step import BuildError, run_step
from opq_hil.backends.debian_source import SourceError, SourceTree, cache_folder
from opq_hil.backends.pinned import MONOCYPHER_VERSION
from opq_hil.backends.pinned import PYMONOCYPHER_SHA256 as SHA256
from opq_hil.backends.pinned import PYMONOCYPHER_VERSION as VERSION

PACKAGE = "pymonocypher"
VARIABLE = "MONOCYPHER_DIR"
FILES = ("monocypher.c", "monocypher.h", "LICENSE.txt")
LIMIT_S = 300.0


def monocypher(cache: Path | None = None) -> SourceTree:
    """A folder with monocypher.c and monocypher.h, fetched once and kept.

    Raises:
        SourceError: it is not available here; the text says what to do instead.
    """
    value = os.environ.get(VARIABLE)
    if value:
        path = Path(value).expanduser().resolve()
        if not (path / "monocypher.c").exists():
            raise SourceError(f"{VARIABLE}={value}: no monocypher.c in it")
        return SourceTree("monocypher", path, "unknown", "", note=f"from {VARIABLE}, not hashed")
    folder = (cache or cache_folder()) / "sources" / f"{PACKAGE}-{SHA256[:16]}"
    with locked(folder.parent / f"{PACKAGE}.lock"):
        if not folder.exists():
            _fetch(folder)
    return SourceTree("monocypher", folder, MONOCYPHER_VERSION, SHA256, note=f"from {PACKAGE} {VERSION}")


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        work = Path(made)
        wanted = work / "wanted.txt"
        wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
        command = (
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-binary=pymonocypher", "--require-hashes", "-d", made, "-r", str(wanted)),
        )
        try:
            code, lines = run_step(command, work, "pip download of Monocypher", limit_s=LIMIT_S)
        except BuildError as problem:
            raise SourceError(f"{problem}; try again") from None
        archive = work / f"{PACKAGE}-{VERSION}.tar.gz"
        if code or not archive.exists():
            last = next((line for line in reversed(lines) if line.strip()), "no reason given")
            raise SourceError(
                f"Monocypher (the boot loader's Ed25519) cannot be fetched by pip: {last}. With monocypher.c "
                f"and .h {MONOCYPHER_VERSION} in a folder, set {VARIABLE}"
            )
        unpack(archive, work / "tree")
        (work / "tree").rename(folder)


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks the C files of the archive into a new folder.

    Raises:
        SourceError: its content is not the expected one.
    """
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise SourceError(f"{archive.name}: SHA-256 {found}, want {SHA256}; nothing was unpacked")
    folder.mkdir()
    with tarfile.open(archive) as tar:
        for name in FILES:
            member = tar.extractfile(f"{PACKAGE}-{VERSION}/{name}")
            if member is None:
                raise SourceError(f"{archive.name}: no {name} in it")
            (folder / name).write_bytes(member.read())
