"""The Renode of `hil/renode.lock`: downloaded, compared with its checksum, unpacked into the cache.

The authors of this page have never had the archive. So while the file has no checksum, its downloader
sees what came, and decides whether its checksum is written there; nothing unchecked is unpacked.
"""

import hashlib
import http.client
import re
import shutil
import tarfile
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from opq_hil.backends.build_lock import locked
from opq_hil.backends.debian_source import cache_folder
from opq_hil.backends.our_sources import our_source
from opq_proto.errors import OpqError
from opq_proto.kit.whole_file import write_whole_file

LOCK = our_source("hil/renode.lock")
TIMEOUT_S = 60.0
LIMIT_BYTES = 1 << 30
"""The archive of 1.16.1 is a tenth of it."""
PIECE_BYTES = 1 << 20


class RenodeArchiveError(OpqError):
    """The archive cannot be downloaded, or it is not the one that the lock file names."""


@dataclass(frozen=True, slots=True)
class RenodeLock:
    """What the lock file says; `sha256` is empty until somebody has filled it in."""

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
        lock = RenodeLock(path, *(str(found[key]) for key in ("version", "url", "sha256")))
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise RenodeArchiveError(f"{path}: no version, url and sha256 of Renode in it: {error}") from None
    if lock.sha256 and not re.fullmatch(r"[0-9a-f]{64}", lock.sha256):
        raise RenodeArchiveError(f"{path}: sha256 is {lock.sha256!r}; want 64 hexadecimal digits, or nothing")
    return lock


def fetch_renode(
    lock: RenodeLock, *, accept: Callable[[str, int], bool], cache: Path | None = None
) -> Path | None:
    """The folder with `renode` and `renode-test`, downloaded once; None: `accept` refused.

    Args:
        accept: is given checksum and size where the lock has none; True: they are written into it.

    Raises:
        RenodeArchiveError: it cannot be downloaded, or its checksum is another one.
    """
    tools = (cache or cache_folder()) / "renode"
    with locked(tools / "lock"):
        folder = tools / f"{lock.version}-{lock.sha256[:16]}"
        if lock.sha256 and folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(dir=tools, prefix=".renode-") as temporary:
            archive = Path(temporary) / "renode.tar.gz"
            sha256 = _download(lock.url, archive)
            if not lock.sha256:
                if not accept(sha256, archive.stat().st_size):
                    return None
                _write_sha256(lock.path, sha256)
            elif sha256 != lock.sha256:
                raise RenodeArchiveError(
                    f"{lock.url}: SHA-256 {sha256}, want {lock.sha256} of {lock.path}; nothing was unpacked"
                )
            folder = tools / f"{lock.version}-{sha256[:16]}"
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


def _write_sha256(path: Path, sha256: str) -> None:
    text = path.read_text(encoding="utf-8")
    written, count = re.subn(r'^sha256 = ""$', f'sha256 = "{sha256}"', text, count=1, flags=re.MULTILINE)
    if not count:
        raise RenodeArchiveError(f'{path}: no line sha256 = "" to fill in')
    write_whole_file(path, [written.encode()])


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
