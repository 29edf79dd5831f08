"""`opq-tools doctor` on a data folder with several faults: each is named, and it goes on after each."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from command_in_process import run_in_process
from silent_mongo import silent_mongo

from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.mongo import mongo_server
from opq_cloud.store.passed_over import note_store
from opq_gateway.uplink.queue_file import QueueFile
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.system_record import CLOUD, GATEWAY, MeantService, note_meant
from opq_tools.shared.opened_store import SHOWN_ANSWER_S
from opq_tools.system.doctor import stores
from opq_tools.system.doctor.folder_check import check_folder
from opq_tools.system.doctor.problem import Problem
from opq_tools.system.doctor.stores import SCHEMAS

OF_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to another user, or mount")
OTHER_USER = 12_345


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder of a cloud and a gateway, with a store of the present schema; it is sound."""
    made = tmp_path / "D"
    fill(made)
    assert found(made) == []
    return made


def fill(folder: Path) -> None:
    KeyFolder(folder / "curve").create(server=True, box_ids=("1",))
    open_store(None, folder).close()
    (folder / "gateway").mkdir()


def found(folder: Path) -> list[Problem]:
    """All problems but those of this machine's disk, whose free space and speed a test does not choose."""
    return [
        each
        for each in check_folder(folder, folder / "etc")
        if "to keep a page" not in each.text and ("GB are free" not in each.text or "full" in each.text)
    ]


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as store, store:
        store.execute(statement)


def add_measurement(folder: Path, ahead_s: float) -> None:
    """A sealed Measurement whose time is that much after now."""
    end_ms = round((time.time() + ahead_s) * 1000)
    change(folder / "opq.db", f"INSERT INTO segments VALUES (1, {end_ms - 1000}, {end_ms}, 1, 0)")


def test_a_missing_secret_beside_a_gateway_is_named(data_dir: Path) -> None:
    secret = data_dir / "curve/private_keys/opqserver_secret"
    secret.unlink()
    (missing,) = found(data_dir)
    assert missing.what == "keys" and missing.text == f"{secret} is missing"
    (data_dir / "opq.db").unlink()
    (data_dir / "accounts.db").unlink(missing_ok=True)
    assert found(data_dir) == [], "a gateway alone has the public key only"
    note_meant(data_dir, [MeantService(GATEWAY, "http://127.0.0.1:8913/")])
    assert found(data_dir) == []
    note_meant(data_dir, [MeantService(CLOUD, "http://127.0.0.1:8911/")])
    assert [each.text for each in found(data_dir)] == [missing.text], "its store may be a MongoDB"


def test_a_newer_store_does_not_hide_other_faults(data_dir: Path) -> None:
    newer = SCHEMAS["opq.db"][1] + 3
    change(data_dir / "opq.db", f"PRAGMA user_version = {newer}")
    add_measurement(data_dir, ahead_s=3600)
    (data_dir / "curve/public_keys/opqserver.key").unlink()
    (data_dir / "config").mkdir()
    (data_dir / "config/cloud.toml").write_text("[view]\nport = 1\n")
    problems = found(data_dir)
    assert [each.what for each in problems] == ["keys", "configuration", "store", "clock"]
    assert f"has schema {newer}, and this version reads schemas up to {newer - 3}" in problems[2].text
    assert "damaged" not in "".join(each.text for each in problems)
    assert "s behind the newest Measurement" in problems[3].text


def test_a_newer_schema_in_the_log_is_named(data_dir: Path) -> None:
    """Only SQLite's write-ahead log has the newer schema; the file itself is still old."""
    newer = SCHEMAS["opq.db"][1] + 1
    with closing(open_store(None, data_dir)):  # another service has it open, so nothing is moved to the file
        change(data_dir / "opq.db", f"PRAGMA user_version = {newer}")
        (problem,) = found(data_dir)
    assert problem.what == "store" and f"opq.db has schema {newer}" in problem.text


@pytest.mark.parametrize(("ahead_s", "is_named"), [(-60, False), (1, False), (90, True)])
def test_a_clock_before_the_newest_measurement_is_named(
    data_dir: Path, ahead_s: float, is_named: bool
) -> None:
    add_measurement(data_dir, ahead_s)
    assert [each.what for each in found(data_dir)] == (["clock"] if is_named else [])


def test_a_lone_gateways_clock_is_compared(data_dir: Path) -> None:
    queue = data_dir / "gateway/queue.sqlite"
    QueueFile(queue, [("1", 1)]).close()
    assert found(data_dir) == []
    change(queue, f"UPDATE boxes SET last_end_ns = {time.time_ns() + 600 * 10**9}")
    (clock,) = found(data_dir)
    assert clock.what == "clock" and str(queue) in clock.text


def test_a_configured_mongodb_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Doctor says that a configured MongoDB is out of reach, or compares its clock."""
    monkeypatch.setattr(mongo_server, "ANSWER_MS", 200)
    KeyFolder(tmp_path / "curve").create(server=True, box_ids=())
    (tmp_path / "config").mkdir()
    (tmp_path / "config/cloud.toml").write_text('[store]\nmongo_uri = "mongodb://u:secret@127.0.0.1:1/opq"\n')
    (away,) = found(tmp_path)
    assert away.what == "store" and "127.0.0.1:1" in away.text and "secret" not in away.text

    def opened(uri: str, folder: Path, untouched: bool, answer_s: float) -> CloudStore:
        assert uri.endswith("127.0.0.1:1/opq") and untouched and answer_s == SHOWN_ANSWER_S
        return open_store(None, tmp_path / "instead")

    monkeypatch.setattr(stores, "open_store", opened)
    assert found(tmp_path) == []
    add_measurement(tmp_path / "instead", 90)
    (clock,) = found(tmp_path)
    assert clock.what == "clock" and "the MongoDB of the configuration" in clock.text


@pytest.mark.parametrize("greets", [False, True])
def test_commands_end_where_mongodb_is_silent(
    greets: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts connections, and answers nothing, or its greeting alone: each command ends with 1."""
    monkeypatch.setattr(mongo_server, "ANSWER_MS", 300)
    (tmp_path / "config").mkdir()
    with silent_mongo(greets) as address:
        (tmp_path / "config/cloud.toml").write_text(f'[store]\nmongo_uri = "{address}"\n')
        for words in (("status",), ("doctor",), ("boxes", "show"), ("store", "check")):
            done = run_in_process(*words, "--data-dir", str(tmp_path))
            assert done.returncode == 1, words
            assert "MongoDB: the server does not answer in time" in done.stdout + done.stderr, words


@pytest.mark.parametrize("late", ["mongodb://…@127.0.0.1:1/opq", "elsewhere"])
def test_a_store_that_is_passed_over_is_named(
    data_dir: Path, late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A history that is not shown is named with the line that copies it, until it is moved away."""
    monkeypatch.setattr(mongo_server, "ANSWER_MS", 200)
    add_measurement(data_dir, -60)
    (data_dir / "config").mkdir(exist_ok=True)
    key = "mongo_uri" if late.startswith("mongo") else "data_dir"
    value = late.replace("…", "u:secret") if key == "mongo_uri" else str(data_dir / late)
    (data_dir / "config/cloud.toml").write_text(f'[store]\n{key} = "{value}"\n')
    shown = late if key == "mongo_uri" else value
    line = f"opq-tools store copy --from {data_dir} --to '{shown}'"
    for command in ("status", "doctor"):
        done = run_in_process(command, "--data-dir", str(data_dir))
        assert "has a history that is not shown" in done.stdout and line in done.stdout
        assert "secret" not in done.stdout
    (data_dir / "opq.db").rename(data_dir / "opq.db.copied")
    assert "is not shown" not in run_in_process("doctor", "--data-dir", str(data_dir)).stdout


def test_a_mongodb_of_before_is_named(data_dir: Path) -> None:
    """A folder whose services ran with a MongoDB, and whose configuration names none now."""
    (data_dir / "config").mkdir(exist_ok=True)
    (data_dir / "config/cloud.toml").write_text("[view]\n")
    options = "tls=true&tlsCertificateKeyFilePassword={}&authMechanismProperties={}&appName=opq"
    secrets = options.format("secret", "AWS_SESSION_TOKEN:secret")
    note_store(f"mongodb://u:secret@db.example/opq?{secrets}", data_dir)
    done = run_in_process("doctor", "--data-dir", str(data_dir))
    shown = f"mongodb://…@db.example/opq?{options.format('…', '…')}"
    line = f"opq-tools store copy --from '{shown}' --to {data_dir}"
    assert line in done.stdout and "secret" not in done.stdout
    assert [each.is_note for each in check_folder(data_dir, data_dir) if "is not shown" in each.text] == [
        True
    ]


def test_a_locked_store_is_not_a_damaged_one(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *named, **more: true_connect(*named, timeout=0.1, **more))
    with closing(true_connect(data_dir / "opq.db", isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        (locked,) = found(data_dir)
    assert locked.text == f"{data_dir}/opq.db is locked by another program"


@OF_ROOT
@pytest.mark.parametrize(
    "which", ["curve/private_keys/opqserver_secret", "opq.db", "gateway", "curve", "system/id"]
)
def test_another_owners_file_is_named_with_chown(data_dir: Path, which: str) -> None:
    (data_dir / "system").mkdir()
    (data_dir / "system/id").write_text("1")
    for path in (data_dir, *data_dir.rglob("*")):
        os.chown(path, OTHER_USER, OTHER_USER)
    assert found(data_dir) == []
    os.chown(data_dir / which, 0, 0)
    (wrong,) = found(data_dir)
    assert wrong.what == "owner" and f"{data_dir / which} belongs to root" in wrong.text
    assert wrong.fix == f"sudo chown -R {OTHER_USER} {data_dir}"
    subprocess.run(wrong.fix.removeprefix("sudo ").split(), check=True)
    assert found(data_dir) == []


@OF_ROOT
def test_roots_folder_with_service_files_is_named(data_dir: Path) -> None:
    for path in data_dir.rglob("*"):
        os.chown(path, OTHER_USER, OTHER_USER)
    (wrong,) = found(data_dir)
    assert f"{data_dir} belongs to root, and the services run as user {OTHER_USER}" in wrong.text


@OF_ROOT
def test_an_unprivileged_user_gets_the_same_help(open_place: Path) -> None:
    """As the user of the services, after a command with sudo."""
    data_dir = open_place / "D"
    fill(data_dir)
    for path in (data_dir, *data_dir.rglob("*")):
        os.chown(path, OTHER_USER, OTHER_USER)
    os.chown(data_dir / "curve/private_keys/opqserver_secret", 0, 0)
    os.chown(data_dir / "opq.db", 0, 0)
    os.setresuid(OTHER_USER, OTHER_USER, 0)
    try:
        problems = found(data_dir)
    finally:
        os.setresuid(0, 0, 0)
    assert [each.what for each in problems] == ["owner", "store"]
    assert problems[0].fix == f"sudo chown -R {OTHER_USER} {data_dir}"
    assert "1 more belong to root" in problems[0].text and "opq.db cannot be read" in problems[1].text
    assert not any("keygen" in each.fix for each in problems)
    open_place.chmod(0o700)
    os.setresuid(OTHER_USER, OTHER_USER, 0)
    try:
        (closed,) = found(data_dir)
    finally:
        os.setresuid(0, 0, 0)
    assert closed.what == "data folder" and "Permission denied" in closed.text and "sudo" in closed.fix


@OF_ROOT
def test_both_commands_help_an_unprivileged_user(open_place: Path) -> None:
    data_dir = open_place / "D"
    fill(data_dir)
    note_meant(data_dir, [MeantService(CLOUD, "http://127.0.0.1:9/")])
    data_dir.chmod(0o700)
    where = ("--data-dir", str(data_dir), "--port-offset", "40000")
    for command in ("status", "doctor"):  # this Python may be root's alone: all of it is imported first
        run_in_process(command, *where)
    os.setresuid(OTHER_USER, OTHER_USER, 0)
    try:
        status, doctor = run_in_process("status", *where), run_in_process("doctor", *where)
    finally:
        os.setresuid(0, 0, 0)
    assert (status.returncode, doctor.returncode) == (1, 1)
    lines = status.stdout.splitlines()
    assert lines[:2] == [
        f"system      {data_dir}: not well",
        f"not well    record: {data_dir}/system: Permission denied",
    ]
    assert f"{data_dir} belongs to root, and user {OTHER_USER} cannot write there" in doctor.stdout
    assert "sudo -u root" in doctor.stdout and f"chown -R {OTHER_USER} {data_dir}" in doctor.stdout


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "opq", folder], check=False, capture_output=True
    )
    if not mounted or mounted.returncode != 0:
        pytest.skip("no disk of its own can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@OF_ROOT
def test_a_full_disk_is_not_a_damaged_store(small_disk: Path) -> None:
    data_dir = small_disk / "D"
    fill(data_dir)
    for name in ("opq.db", "accounts.db"):
        assert not (data_dir / f"{name}-wal").exists()
    with (small_disk / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    problems = found(data_dir)
    disk = [each for each in problems if each.what == "disk"]
    assert len(disk) == 1 and disk[0].text.startswith("the disk is full: 0.0 GB of 0 GB are free")
    assert not any("damaged" in each.text for each in problems)
    (small_disk / "filler").unlink()
    assert [each for each in found(data_dir) if each.what != "disk"] == []
