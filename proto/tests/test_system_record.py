"""The record of a data folder: which system it is, and what is meant to run there."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from opq_proto.kit.system_place import find_system
from opq_proto.kit.system_record import (
    FOLDER,
    MeantService,
    RecordReader,
    SystemIdentity,
    file_of,
    forget_meant,
    identity_of,
    is_of,
    note_meant,
    read_record,
)

VIEW = MeantService("view", "http://127.0.0.1:9888/health", 1000)
GATEWAY = MeantService("gateway", "http://127.0.0.1:9913/", 1000)


def answer(identity: SystemIdentity) -> dict[str, object]:
    return {"name": "view", "system": identity.as_json()}


def test_a_folder_gets_one_identity(tmp_path: Path) -> None:
    found: list[SystemIdentity] = []
    threads = [threading.Thread(target=lambda: found.append(identity_of(tmp_path))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each.id for each in found}) == 1 and found[0].id
    assert identity_of(tmp_path) == found[0] == read_record(tmp_path).identity
    assert [each.name for each in (tmp_path / FOLDER).iterdir()] == ["id"]
    assert (tmp_path / FOLDER / "id").stat().st_mode & 0o077 == 0


def test_intended_services_are_read_back(tmp_path: Path) -> None:
    assert read_record(tmp_path / "none").services == () and not (tmp_path / "none").exists()
    note_meant(tmp_path, [VIEW, GATEWAY])
    note_meant(tmp_path, [VIEW])
    assert read_record(tmp_path).services == (GATEWAY, VIEW)
    assert find_system(tmp_path, None) == (tmp_path, 1000)
    forget_meant(tmp_path, ["view", "mauka"])
    assert read_record(tmp_path).services == (GATEWAY,)


def test_a_reader_reads_again_after_a_change(tmp_path: Path) -> None:
    """A change is seen at once, also in a folder that changed just now; else what was read stays."""
    reader, folder = RecordReader(tmp_path), tmp_path / FOLDER
    assert reader.read().services == ()
    note_meant(tmp_path, [VIEW])
    assert reader.read().services == (VIEW,)
    note_meant(tmp_path, [GATEWAY])
    assert reader.read().services == (GATEWAY, VIEW)
    os.utime(folder, ns=(10**18, 10**18))
    settled = reader.read()
    assert reader.read() is settled
    forget_meant(tmp_path, ["view"])
    assert reader.read().services == (GATEWAY,)
    shutil.rmtree(folder)
    assert reader.read().services == ()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"health": "http://x/"}', '{"health": 1, "port_offset": "x"}']
)
def test_an_unreadable_record_is_a_problem(tmp_path: Path, text: str) -> None:
    note_meant(tmp_path, [GATEWAY])
    file_of(tmp_path, "view").write_text(text)
    record = read_record(tmp_path)
    assert record.services == (GATEWAY,) and str(file_of(tmp_path, "view")) in record.problem


def test_a_copied_folder_is_another_system(tmp_path: Path) -> None:
    own, other = identity_of(tmp_path / "own"), identity_of(tmp_path / "other")
    shutil.copytree(tmp_path / "own", tmp_path / "copy")
    copy = identity_of(tmp_path / "copy")
    (tmp_path / "link").symlink_to(tmp_path / "own")
    assert is_of(answer(own), own) and is_of(answer(identity_of(tmp_path / "link")), own)
    assert not is_of(answer(other), own)
    assert copy.id == own.id and not is_of(answer(copy), own)
    assert not is_of(answer(SystemIdentity("", own.data_dir)), own), "it states the folder, and has no id"
    of_container = SystemIdentity(own.id, "/not/of/this/machine")
    assert is_of(answer(of_container), own) and not is_of({"name": "view"}, own)


def test_the_system_is_shown_to_entitled_clients(tmp_path: Path) -> None:
    own = identity_of(tmp_path)
    shown = {"system": {"id": own.id, "data_dir": str(tmp_path)}}
    assert own.shown_to(True, None) == own.shown_to(False, own.digest) == shown
    assert own.id not in own.digest
    for header in (None, "", own.id, "0" * 64, f"{own.digest}0", "ü"):
        assert own.shown_to(False, header) == {}
    assert SystemIdentity("", str(tmp_path)).shown_to(False, "") == {}


@pytest.mark.parametrize("text", ["", "a\nb", "a b", "../x"])
def test_an_id_that_is_none_is_not_sent(tmp_path: Path, text: str) -> None:
    identity_of(tmp_path)
    (tmp_path / FOLDER / "id").write_text(text)
    assert identity_of(tmp_path).id == ""


def test_an_unwritable_folder_is_known_by_place(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file")
    own = identity_of(tmp_path)
    assert own.id == "" and is_of(answer(own), own)
    assert not is_of(answer(identity_of(tmp_path / "other")), own)
    assert read_record(tmp_path).services == ()
