"""`opq-tools backup` and `restore`: copies of a data folder that others write to."""

import errno
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from command_in_process import run_in_process
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_cloud.store import FILE_NAME
from opq_proto.kit.archive_time import MANIFEST, archive_made_s
from opq_proto.kit.system_record import RESTORED, RESTORING, UnfinishedRestoreError, refuse_unfinished
from opq_proto.kit.whole_file import flush_to_disk
from opq_tools.keep.archive import ArchiveError, Manifest, read_archive
from opq_tools.keep.backup import back_up
from opq_tools.keep.restore import SET_ASIDE, RestoreError, restore

ROW = "x" * 400


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    for folder in ("curve/private_keys", "gateway/box1/ring", "gateway/box1/ledger", "log", "mauka"):
        (made / folder).mkdir(parents=True, mode=0o700)
    secret = made / "curve/private_keys/opqserver_secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    for name in ("gateway/box1/ring/1.seg", "gateway/box1/ledger/1.led", "log/cloud.log", "mauka.lock"):
        (made / name).write_bytes(b"some")
    (made / "gateway/queue.sqlite.numbers-reserved").touch()
    with closing(sqlite3.connect(made / "opq.db")) as store, store:
        store.execute("PRAGMA journal_mode=WAL")
        store.execute("CREATE TABLE pairs (number INTEGER, copy INTEGER, rest TEXT)")
    return made


@contextmanager
def written_to(path: Path) -> Iterator[threading.Event]:
    """A thread writes rows, two in each transaction, until the end; the event is set once it does."""
    stop, writes = threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=240)) as store:
            number = 0
            while not stop.is_set():
                with store:
                    for _ in range(2):
                        store.execute("INSERT INTO pairs VALUES (?, ?, ?)", (number, number, ROW))
                number += 1
                if number == 50:
                    writes.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert writes.wait(240)
        yield writes
    finally:
        stop.set()
        thread.join()


def test_a_database_is_copied_while_another_writes(data_dir: Path, tmp_path: Path) -> None:
    """The copy shows one moment of a database that another process is writing."""
    with written_to(data_dir / "opq.db"):
        for k in range(3):
            back_up(data_dir, tmp_path / f"{k}.tar")
            restore(tmp_path / f"{k}.tar", tmp_path / f"back{k}")
    for k in range(3):
        with closing(sqlite3.connect(tmp_path / f"back{k}/opq.db")) as store:
            assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows, most = store.execute("SELECT count(*), max(number) FROM pairs").fetchone()
            assert rows == 2 * (most + 1) >= 100


def test_keys_keep_modes_and_process_files_stay_out(data_dir: Path, tmp_path: Path) -> None:
    manifest = back_up(data_dir, tmp_path / "copy.tar")
    assert set(manifest.files) == {
        "curve/private_keys/opqserver_secret",
        "gateway/box1/ledger/1.led",
        "opq.db",
    }
    assert [*manifest.files][-1] == "opq.db", "what left the gateway's queue before is in it"
    assert (tmp_path / "copy.tar").stat().st_mode & 0o777 == 0o600
    restore(tmp_path / "copy.tar", tmp_path / "back")
    secret = tmp_path / "back/curve/private_keys/opqserver_secret"
    assert secret.read_text() == "secret" and secret.stat().st_mode & 0o777 == 0o600
    assert all(each.stat().st_mode & 0o077 == 0 for each in (tmp_path / "back").rglob("*") if each.is_dir())
    with_rings = back_up(data_dir, tmp_path / "rings.tar", with_rings=True)
    assert with_rings.files.keys() - manifest.files.keys() == {"gateway/box1/ring/1.seg"}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["back", "copy.tar", "data", "rings.tar"]


@settings(max_examples=40, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_or_cut_archive_restores_nothing(
    tmp_path_factory: pytest.TempPathFactory, place: float, bit: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "data").mkdir()
    (folder / "data/a").write_bytes(os.urandom(3000))
    (folder / "data/b").write_bytes(os.urandom(700))
    back_up(folder / "data", folder / "copy.tar")
    content = bytearray((folder / "copy.tar").read_bytes())
    with tarfile.open(folder / "copy.tar") as tar:
        members = [(each.offset_data, each.size) for each in tar]
    places = [k for begin, size in members for k in range(begin, begin + size)]
    at = int(place * len(places))
    if cut:
        del content[places[at] :]
    else:
        content[places[at]] ^= 1 << bit
    (folder / "copy.tar").write_bytes(content)
    try:
        restore(folder / "copy.tar", folder / "back")
    except ArchiveError as error:
        assert str(folder / "copy.tar") in str(error)
        assert sorted(each.name for each in folder.iterdir()) == ["copy.tar", "data"]
    else:  # a word of the manifest that is only shown, or white space in it
        assert not cut
        for name in ("a", "b"):
            assert (folder / "back" / name).read_bytes() == (folder / "data" / name).read_bytes()


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../outside"])
def test_an_archive_of_an_attacker_writes_nothing_outside(tmp_path: Path, name: str) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(ArchiveError, match="is not a file of a back-up"):
        restore(path, tmp_path / "into" / "back")
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    with tarfile.open(path, "w") as tar:
        tar.addfile(link)
    with pytest.raises(ArchiveError, match="is not a file of a back-up"):
        restore(path, tmp_path / "into" / "back")
    assert list((tmp_path / "into").iterdir()) == []


def test_foreign_and_later_archives_are_refused_by_name(tmp_path: Path) -> None:
    """The error names the file and, for an archive of a later version, that version."""
    other = tmp_path / "other.tar"
    other.write_bytes(b"no archive" * 1000)
    with pytest.raises(ArchiveError, match=r"other.tar: is not a whole archive"):
        read_archive(other)
    (tmp_path / MANIFEST).write_text(json.dumps({"format": 2, "version": "9.1"}))
    with tarfile.open(other, "w") as tar:
        tar.add(tmp_path / MANIFEST, MANIFEST)
    with pytest.raises(ArchiveError, match=r"has format 2; this version reads 1: use the toolkit '9.1'"):
        read_archive(other)


def test_a_folder_in_use_is_not_restored_into(data_dir: Path, tmp_path: Path) -> None:
    back_up(data_dir, tmp_path / "copy.tar")
    with pytest.raises(RestoreError, match="is not empty"):
        restore(tmp_path / "copy.tar", data_dir)
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "copy.tar", tmp_path / "empty")
    assert (tmp_path / "empty/opq.db").exists()


MOUNTED = """
import os, sys
from pathlib import Path
from opq_tools.keep.backup import back_up
from opq_tools.keep.restore import restore

data = Path("data")
(data / "curve").mkdir(parents=True)
(data / "curve/key").write_text("key")
(data / "opq.db").write_text("store")
back_up(data, Path("whole.tar"))
for name in ("disk", "bound"):
    restore(Path("whole.tar"), Path(name))
    assert sorted({*os.listdir(name)} - {"lost+found"}) == ["curve", "opq.db"]
    assert {each.owner() for each in Path(name).rglob("*") if each.name != "lost+found"} == {"root"}
"""


def test_a_mount_point_is_restored_into(tmp_path: Path) -> None:
    """A disk of its own, with lost+found, and a bound folder are filled, not replaced."""
    for name in ("disk", "bound", "volume"):
        (tmp_path / name).mkdir()
    mounts = "mount -t tmpfs tmpfs disk && mkdir disk/lost+found && mount --bind volume bound"
    space = ["unshare", "-rm", "bash", "-c"]
    if subprocess.run([*space, mounts], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no mount of its own (unshare -rm)")
    run = f"{mounts} && exec {shlex.quote(sys.executable)} -c {shlex.quote(MOUNTED)}"
    done = subprocess.run(
        [*space, run], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def restore_and_die(archive: Path, into: Path, changes: int) -> int:
    """Restores in a child that is killed after so many changes of names in the folder; returns its end."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    made = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal made
        if event in ("os.rename", "os.mkdir", "shutil.rmtree", "os.rmdir"):
            made += str(arguments[0]).startswith(str(into))
            if made > changes:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    restore(archive, into)
    os._exit(0)


def test_a_killed_restore_is_begun_again(data_dir: Path, tmp_path: Path) -> None:
    """Killed before each change of a name in the folder: nothing starts there, and the next call is whole."""
    archive, into = tmp_path / "copy.tar", tmp_path / "into"
    manifest, unfinished = back_up(data_dir, archive), 0
    for changes in range(100):
        into.mkdir()
        ended = restore_and_die(archive, into, changes)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        if (into / RESTORING).exists():
            unfinished += 1
            with pytest.raises(UnfinishedRestoreError, match="was not finished there; run the same"):
                refuse_unfinished(into)
        if (into / RESTORING).exists() or not any(into.iterdir()):
            restore(archive, into)
        assert {each.relative_to(into).as_posix() for each in into.rglob("*") if each.is_file()} >= {
            *manifest.files
        }
        shutil.rmtree(into)
    assert unfinished > 6


def test_a_running_restore_excludes_another(data_dir: Path, tmp_path: Path) -> None:
    """The second one would take the first one's folder for what a killed one left, and remove it."""
    archive, into = tmp_path / "copy.tar", tmp_path / "into"
    manifest = back_up(data_dir, archive)
    refused: list[str] = []

    def restore_again(source: Path, take: Callable[..., None]) -> Manifest:
        found = read_archive(source, take)
        for _ in range(2):
            with pytest.raises(RestoreError) as caught:
                restore(archive, into)
            refused.append(str(caught.value))
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("opq_tools.keep.restore.read_archive", restore_again)
        restore(archive, into)
    assert refused == [f"{into}: another restore works there; wait for it, or end it"] * 2
    assert back_up(into, tmp_path / "again.tar").files.keys() == manifest.files.keys()


def test_a_restore_ends_at_its_last_rename(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That name is flushed to the disk before anything else, and what cannot be removed after it stays."""
    archive, into = tmp_path / "copy.tar", tmp_path / "into"
    manifest = back_up(data_dir, archive)
    true_rmdir = os.rmdir
    flushed: list[set[str]] = []

    def flush(path: Path) -> None:
        flushed.append({each.name for each in into.iterdir()})
        flush_to_disk(path)

    def rmdir(path: str | Path, *, dir_fd: int | None = None) -> None:
        if str(path).endswith(("files", RESTORED)):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        true_rmdir(path, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr("opq_tools.keep.restore.flush_to_disk", flush)
        patched.setattr(os, "rmdir", rmdir)
        restore(archive, into)
    assert RESTORING in flushed[-2] and RESTORED in flushed[-1] and RESTORING not in flushed[-1]
    assert (into / RESTORED).exists()
    refuse_unfinished(into)
    assert back_up(into, tmp_path / "again.tar").files.keys() == manifest.files.keys()


def test_nothing_starts_in_a_half_restored_folder(tmp_path: Path) -> None:
    (tmp_path / "data" / RESTORING).mkdir(parents=True)
    where = ("--data-dir", str(tmp_path / "data"))
    commands = [("backup", str(tmp_path)), ("doctor",), ("status",), ("up",), ("boxes", "show")]
    commands += [("boxes", "set", "1", "--name", "x")]
    for words in commands:
        done = run_in_process(*words, *where)
        assert done.returncode == 1 and "a restore was not finished" in done.stdout + done.stderr, words
    assert [each.name for each in (tmp_path / "data").iterdir()] == [RESTORING]
    (tmp_path / "data" / FILE_NAME).touch()  # it was moved to its place already
    data, other = str(tmp_path / "data"), str(tmp_path / "other")
    for words in (
        ("check", *where),
        ("repair", "--into", other, *where),
        ("copy", "--from", data, "--to", other),
        ("copy", "--from", data, "--dry-run"),
    ):
        done = run_in_process("store", *words)
        assert done.returncode == 1 and "a restore was not finished" in done.stdout + done.stderr, words
    assert not (tmp_path / "other").exists() and not (tmp_path / "data" / FILE_NAME).stat().st_size


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can restore for another user")
def test_root_restores_for_the_folders_owner(data_dir: Path, tmp_path: Path) -> None:
    back_up(data_dir, tmp_path / "copy.tar")
    into = tmp_path / "into"
    into.mkdir(mode=0o700)
    os.chown(into, 10001, 10002)
    restore(tmp_path / "copy.tar", into)
    owners = {(each.stat().st_uid, each.stat().st_gid) for each in (into, *into.rglob("*"))}
    assert owners == {(10001, 10002)}


def test_a_config_naming_another_store_is_renamed(data_dir: Path, tmp_path: Path) -> None:
    """A command with the restored folder would read and change the store that the copied system uses."""
    (data_dir / "config").mkdir()
    named = data_dir / "config" / "cloud.toml"
    for number, (text, stays) in enumerate(
        (
            ('[store]\nmongo_uri = "mongodb://127.0.0.1:1/opq"\n', False),
            (f'[store]\ndata_dir = "{data_dir}"\n', False),
            (f'[store]\ndata_dir = "{tmp_path / "back2"}"\n', True),
            ("[view]\nport = 8888\n", True),
        )
    ):
        named.write_text(text)
        back_up(data_dir, tmp_path / f"{number}.tar")
        into = tmp_path / f"back{number}"
        done = run_in_process("restore", str(tmp_path / f"{number}.tar"), "--data-dir", str(into))
        assert done.returncode == 0, done.stderr
        kept = into / "config" / ("cloud.toml" if stays else SET_ASIDE)
        assert [each.name for each in (into / "config").iterdir()] == [kept.name]
        assert kept.read_text() == text and (SET_ASIDE in done.stderr) != stays


def test_the_commands_report_results_and_errors(data_dir: Path, tmp_path: Path) -> None:
    done = run_in_process("backup", str(tmp_path), "--data-dir", str(data_dir), "--json")
    said = json.loads(done.stdout)
    assert said["files"] == 3 and Path(said["archive"]).parent == tmp_path
    again = run_in_process("restore", said["archive"], "--data-dir", str(tmp_path / "back"))
    assert again.stdout.startswith(f"{tmp_path / 'back'}: 3 files, ")
    inside = run_in_process("backup", str(data_dir / "copy.tar"), "--data-dir", str(data_dir))
    assert "is in the data folder itself" in inside.stderr and inside.returncode == 1
    not_mounted = run_in_process("backup", str(tmp_path / "backups"), "--data-dir", str(data_dir))
    assert not_mounted.returncode == 1 and "backups: there is no such folder" in not_mounted.stderr
    below = run_in_process("backup", str(tmp_path / "backups/a.tar"), "--data-dir", str(data_dir))
    assert below.returncode == 1 and f"there is no folder {tmp_path / 'backups'}" in below.stderr
    assert not (tmp_path / "backups").exists()
    nowhere = run_in_process("backup", str(tmp_path), "--data-dir", str(tmp_path / "none"))
    assert f"there is no folder {tmp_path / 'none'}" in nowhere.stderr
    missing = run_in_process("restore", str(tmp_path / "none.tar"), "--data-dir", str(tmp_path / "new"))
    assert "none.tar: No such file" in missing.stderr and not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["copy.tar.gz", "copy.tgz"])
def test_a_name_with_gz_is_compressed_and_restored(data_dir: Path, tmp_path: Path, name: str) -> None:
    (data_dir / "notes.txt").write_text("equal lines\n" * 10_000)
    plain, packed = tmp_path / "copy.tar", tmp_path / name
    for path in (plain, packed):
        done = run_in_process("backup", str(path), "--data-dir", str(data_dir))
        assert done.returncode == 0, done.stderr
    assert packed.read_bytes()[:2] == b"\x1f\x8b" and packed.stat().st_size < plain.stat().st_size / 2
    subprocess.run(["gzip", "--test", str(packed)], check=True)
    assert read_archive(packed).files == read_archive(plain).files
    restore(packed, tmp_path / "back")
    assert (tmp_path / "back/notes.txt").read_text() == "equal lines\n" * 10_000
    made_s = datetime.fromisoformat(read_archive(packed).made_at).timestamp()
    assert archive_made_s(packed) == made_s
    packed.write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(ArchiveError, match="is not a whole archive"):
        read_archive(packed)


FULL_DISK = """
import os, sqlite3, sys
from pathlib import Path
from click.testing import CliRunner
from opq_tools.cli import tools
from opq_tools.keep.backup import back_up

data = Path("data")
data.mkdir()
(data / "rules.bin").write_bytes(os.urandom(900_000))
back_up(data, Path("whole.tar"))
Path("store").mkdir()
with sqlite3.connect("store/opq.db") as store:
    store.execute("CREATE TABLE rows AS SELECT randomblob(900000) AS row")
store.close()
for words in (
    ("backup", "small/full.tar", "--data-dir", "data"),
    ("backup", "small/full.tar.gz", "--data-dir", "data"),
    ("restore", "whole.tar", "--data-dir", "small/again"),
    ("backup", "small/store.tar", "--data-dir", "store"),
):
    try:
        CliRunner().invoke(tools, words, catch_exceptions=False)
    except Exception as error:
        print(error)
assert os.listdir("small") == [], os.listdir("small")
"""


def test_a_full_disk_ends_with_one_sentence(tmp_path: Path) -> None:
    """A file system of 600 kB takes neither an archive nor a restored folder, and nothing of them stays."""
    (tmp_path / "small").mkdir()
    mount = "mount -t tmpfs -o size=600k tmpfs small"
    space = ["unshare", "-rm", "bash", "-c"]
    if subprocess.run([*space, mount], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no mount of its own (unshare -rm)")
    run = f"{mount} && exec {shlex.quote(sys.executable)} -c {shlex.quote(FULL_DISK)}"
    done = subprocess.run(
        [*space, run], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    plain, packed, restored, stored = done.stdout.splitlines()
    assert plain == "small/full.tar: No space left on device"
    assert "small" in packed and packed.endswith("No space left on device")
    assert restored.startswith("small/again: No space left on device; whole.tar has ")
    assert stored == "small/store.tar: No space left on device", "not the store, which is only read"
