"""`opq-tools hil renode`: the archive is compared with its checksum before it is unpacked."""

import hashlib
import platform
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from opq_hil.backends.renode_archive import RenodeArchiveError, read_lock
from opq_tools.hil.hil_command import command


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A tarball as Renode's: one folder, with the two programs in it."""
    folder = tmp_path / "renode_1.99"
    folder.mkdir()
    for name in ("renode", "renode-test"):
        (folder / name).write_text("#!/bin/sh\necho 1.99\n")
        (folder / name).chmod(0o755)
    path = tmp_path / "served" / "renode.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, folder.name)
    return path


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing into the tests' output."""


@pytest.fixture
def lock(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(archive.parent)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    path = tmp_path / "renode.lock"
    url = f"http://127.0.0.1:{server.server_port}/renode.tar.gz"
    entry = f'[{platform.machine()}]\nurl = "{url}"\nsha256 = "{sha256(archive)}"\n'
    path.write_text(f'version = "1.99"\n{entry}[other]\nurl = "x"\nsha256 = ""\n')
    try:
        yield path
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(lock: Path, *words: str) -> Result:
    return CliRunner().invoke(command, ["renode", *words, "--lock", str(lock)])


def sha256(archive: Path) -> str:
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def test_a_fetched_archive_is_kept(lock: Path, archive: Path) -> None:
    done = run(lock, "--fetch")
    assert done.exit_code == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert (folder / "renode-test").stat().st_mode & 0o111
    archive.unlink()
    assert run(lock, "--fetch").stdout == done.stdout  # from the cache: no download
    assert f"sha256 {read_lock(lock).sha256}" in run(lock).stdout


def test_an_archive_with_another_checksum_is_not_unpacked(lock: Path, archive: Path, tmp_path: Path) -> None:
    lock.write_text(lock.read_text().replace(sha256(archive), "0" * 64))
    done = run(lock, "--fetch")
    assert isinstance(done.exception, RenodeArchiveError)
    assert f"SHA-256 {sha256(archive)}, want 0000" in str(done.exception)
    assert [path.name for path in (tmp_path / "cache/opq/renode").iterdir()] == ["lock"]


def test_an_absent_archive_names_its_address(lock: Path, archive: Path) -> None:
    archive.unlink()
    done = run(lock, "--fetch")
    assert isinstance(done.exception, RenodeArchiveError)
    assert "renode.tar.gz: cannot be downloaded: File not found" in str(done.exception)


HERE = f"[{platform.machine()}]"


@pytest.mark.parametrize(
    "text",
    [
        "",
        'version = "1"\n',
        f'version = "1"\n{HERE}\nurl = "x"\n',
        f'version = "1"\n{HERE}\nurl = "x"\nsha256 = ""\n',
        f'version = "1"\n{HERE}\nurl = "x"\nsha256 = "abc"\n',
    ],
)
def test_a_lock_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "renode.lock").write_text(text)
    with pytest.raises(RenodeArchiveError, match=r"renode\.lock: "):
        read_lock(tmp_path / "renode.lock")


def test_ours_reports_its_checksum() -> None:
    done = CliRunner().invoke(command, ["renode"])
    assert done.exit_code == 0
    assert "Renode 1." in done.stdout and "sha256 " in done.stdout
