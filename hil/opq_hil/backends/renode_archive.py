"""The Renode of `hil/renode.lock`: downloaded, compared with its checksum, unpacked into the cache."""

import hashlib
import http.client
import platform
import re
import shutil
import tarfile
import tempfile
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from opq_hil.backends.build_lock import locked
from opq_hil.backends.debian_source import cache_folder
from opq_hil.backends.our_sources import our_source
from opq_proto.errors import OpqError

LOCK = our_source("hil/renode.lock")
TIMEOUT_S = 60.0
LIMIT_BYTES = 1 << 30
"""The archive of 1.16.1 is a tenth of it."""
PIECE_BYTES = 1 << 20


class RenodeArchiveError(OpqError):
    """The archive cannot be downloaded, or it is not the one that the lock file names."""


@dataclass(frozen=True, slots=True)
class RenodeLock:
    """What the lock file says for the processor of this machine."""

    path: Path
    version: str
    url: str
    sha256: str


def read_lock(path: Path = LOCK) -> RenodeLock:
    """Reads the lock file.

    Raises:
        RenodeArchiveError: it is not there, or not what it should be.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        ours = found[platform.machine()]
        lock = RenodeLock(path, str(found["version"]), str(ours["url"]), str(ours["sha256"]))
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise RenodeArchiveError(
            f"{path}: want version, and url and sha256 in [{platform.machine()}]: {error}"
        ) from None
    if not re.fullmatch(r"[0-9a-f]{64}", lock.sha256):
        raise RenodeArchiveError(f"{path}: sha256 is {lock.sha256!r}; want 64 hexadecimal digits")
    return lock


def fetch_renode(lock: RenodeLock, *, cache: Path | None = None) -> Path:
    """The folder with `renode` and `renode-test`, downloaded once.

    Raises:
        RenodeArchiveError: it cannot be downloaded, or its checksum is another one.
    """
    tools = (cache or cache_folder()) / "renode"
    with locked(tools / "lock"):
        folder = tools / f"{lock.version}-{lock.sha256[:16]}"
        if folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(dir=tools, prefix=".renode-") as temporary:
            archive = Path(temporary) / "renode.tar.gz"
            sha256 = _download(lock.url, archive)
            if sha256 != lock.sha256:
                raise RenodeArchiveError(
                    f"{lock.url}: SHA-256 {sha256}, want {lock.sha256} of {lock.path}; nothing was unpacked"
                )
            _unpack(archive, Path(temporary) / "tree", folder)
    return folder


def _download(url: str, file: Path) -> str:
    digest = hashlib.sha256()
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, file.open("wb") as out:
            while piece := answer.read(PIECE_BYTES):
                size += len(piece)
                if size > LIMIT_BYTES:
                    raise RenodeArchiveError(f"{url}: more than {LIMIT_BYTES >> 20} MB came")
                digest.update(piece)
                out.write(piece)
            wanted = answer.headers.get("Content-Length")
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise RenodeArchiveError(f"{url}: cannot be downloaded: {reason}") from None
    if wanted is not None and int(wanted) != size:
        raise RenodeArchiveError(f"{url}: {size} of {wanted} bytes came")
    return digest.hexdigest()


def _unpack(archive: Path, tree: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            tar.extraction_filter = getattr(tarfile, "tar_filter", None)  # since 3.11.4
            tar.extractall(tree)
        (top,) = tree.iterdir()
    except (tarfile.TarError, OSError, ValueError) as error:
        raise RenodeArchiveError(f"Renode's archive cannot be unpacked: {error}") from None
    shutil.rmtree(folder, ignore_errors=True)
    top.rename(folder)
