"""Sources that a user has: which tarballs, checkouts and folders are accepted; how a change is noticed."""

import dataclasses
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from opq_hil.backends.debian_source import SourceError
from opq_hil.backends.own_source import own_source
from opq_hil.backends.pinned import MICROPYTHON, QEMU, Pinned


def version_of(path: Path) -> str | None:
    file = path / "VERSION"
    return file.read_text().strip() if file.exists() else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "hello-1.2.3"
    (source / "src").mkdir(parents=True)
    (source / "VERSION").write_text("1.2.3\n")
    (source / "src/hello.c").write_text("int main;\n")
    return source


HELLO = Pinned("hello", "1.2", "trixie")


def packed(folder: Path) -> Path:
    archive = folder.with_name(f"{folder.name}.tar.xz")
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(folder, folder.name)
    return archive


def test_a_known_tarball_is_unpacked_once(folder: Path, tmp_path: Path) -> None:
    archive = packed(folder)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    known = dataclasses.replace(HELLO, tarballs={sha256: archive.name})
    first = own_source(known, archive, "--source", version_of, tmp_path / "cache")
    assert (first.version, first.sha256, first.note) == ("1.2.3", sha256, "from hello-1.2.3.tar.xz")
    assert (first.path / "src/hello.c").read_text() == "int main;\n"
    (first.path / "kept").touch()
    assert own_source(known, archive, "--source", version_of, tmp_path / "cache") == first
    assert (first.path / "kept").exists()
    assert not list((tmp_path / "cache/sources").glob(".hello-*"))


def test_an_unknown_tarball_is_refused(folder: Path, tmp_path: Path) -> None:
    archive = packed(folder)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(SourceError, match=rf"SHA-256 {sha256}; want qemu-10\.0\.0\.tar\.xz 22c075"):
        own_source(QEMU, archive, "--qemu-source", version_of, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("sources/qemu*"))


def test_a_changed_file_makes_another_folder(folder: Path) -> None:
    first = own_source(HELLO, folder, "--source", version_of)
    assert first.path == folder and "no checksum to compare" in first.note
    (folder / ".git").mkdir()
    (folder / ".git/index").write_text("")
    assert own_source(HELLO, folder, "--source", version_of) == first
    (folder / "src/hello.c").write_text("int other;\n")
    changed = own_source(HELLO, folder, "--source", version_of)
    (folder / "src/hello.c").rename(folder / "src/hallo.c")
    renamed = own_source(HELLO, folder, "--source", version_of)
    assert len({first.sha256, changed.sha256, renamed.sha256}) == 3


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
def test_a_checkout_reports_a_known_commit(folder: Path) -> None:
    def git(*words: str) -> str:
        command = ("git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    known = dataclasses.replace(HELLO, commits={git("rev-parse", "HEAD"): "v1.2.3"})
    assert own_source(known, folder, "--source", version_of).note == "checkout of v1.2.3"
    (folder / "src/hello.c").write_text("int changed;\n")
    assert "no checksum to compare" in own_source(known, folder, "--source", version_of).note


@pytest.mark.parametrize(
    ("version", "why"),
    [("1.3.0", r"hello 1\.3\.0; want 1\.2\.x"), ("1.25.0", "want"), (None, "no source of hello")],
)
def test_a_wrong_source_is_refused(folder: Path, version: str | None, why: str) -> None:
    with pytest.raises(SourceError, match=rf"^--source {folder}: .*{why}"):
        own_source(HELLO, folder, "--source", lambda path: version)


def test_every_checksum_names_a_release() -> None:
    """It has the right length, and a release of the series."""
    for pinned in (QEMU, MICROPYTHON):
        assert all(len(sha256) == 64 for sha256 in pinned.tarballs)
        assert all(len(commit) == 40 for commit in pinned.commits)
        for name in pinned.tarballs.values():
            assert name.startswith(f"{pinned.name}-{pinned.series}.")
        for tag in pinned.commits.values():
            assert tag.startswith(f"v{pinned.series}.")
