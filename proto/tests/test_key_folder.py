"""The folder of key files: the contract's tree, what it refuses, what it admits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from opq_proto.errors import KeyFileError
from opq_proto.keys import key_files as keys
from opq_proto.keys.register import KeyRegister


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_tree_is_the_contracts(tmp_path: Path) -> None:
    folder = keys.KeyFolder(tmp_path / "curve")
    made = folder.create(True, ["1", "1003"])
    assert sorted(str(path.relative_to(tmp_path)) for path in made) == [
        "curve/private_keys/opqbox1003_secret",
        "curve/private_keys/opqbox1_secret",
        "curve/private_keys/opqserver_secret",
        "curve/public_keys/opqbox1.key",
        "curve/public_keys/opqbox1003.key",
        "curve/public_keys/opqserver.key",
    ]
    server = keys.read_secret_file(folder.server_secret)
    assert keys.read_key_file(folder.server_public) == keys.KeyPair(server.public)


def test_create_overwrites_nothing_and_names_the_files(tmp_path: Path) -> None:
    folder = keys.KeyFolder(tmp_path)
    folder.create(False, ["2"])
    before = folder.box_secret("2").read_bytes()
    with pytest.raises(KeyFileError) as caught:
        folder.create(True, ["1", "2"])
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder.box_secret("2")) in text
    assert str(folder.box_public("2")) in text
    assert "opqbox1" not in text
    assert not folder.server_secret.exists()
    assert not folder.box_secret("1").exists()
    assert folder.box_secret("2").read_bytes() == before
    folder.create(True, ["1", "2"], force=True)
    assert folder.box_secret("2").read_bytes() != before


def test_a_dangling_link_counts_as_there(tmp_path: Path) -> None:
    folder = keys.KeyFolder(tmp_path)
    folder.private_keys.mkdir()
    folder.box_secret("1").symlink_to(tmp_path / "gone")
    with pytest.raises(KeyFileError, match="exist already"):
        folder.create(False, ["1"])


def test_ensure_makes_only_missing_keys(tmp_path: Path) -> None:
    folder = keys.KeyFolder(tmp_path / "deep" / "curve")
    assert len(folder.ensure(["1", "2"])) == 6
    assert folder.ensure(["1", "2"]) == []
    before = {path: path.read_bytes() for path in folder.root.rglob("opq*") if path.is_file()}
    folder.server_public.unlink()
    assert folder.ensure(["1", "2", "3"]) == [
        folder.server_public,
        folder.box_secret("3"),
        folder.box_public("3"),
    ]
    assert {path: path.read_bytes() for path in before} == before


def test_ensure_leaves_a_revoked_box_revoked(tmp_path: Path) -> None:
    folder = keys.KeyFolder(tmp_path)
    folder.ensure(["1", "2"])
    folder.box_public("1").unlink()
    assert folder.ensure(["1", "2"]) == []
    assert list(folder.admitted()[0].values()) == ["2"]


def test_ensure_reports_a_lost_secret(tmp_path: Path) -> None:
    folder = keys.KeyFolder(tmp_path)
    folder.ensure(["1"])
    folder.box_secret("1").unlink()
    with pytest.raises(KeyFileError, match=r"is missing but .* keygen --out .* --boxes \d+ --force"):
        folder.ensure(["1"])


def test_two_processes_that_ensure_at_once_agree(tmp_path: Path) -> None:
    code = (
        "import sys; from opq_proto.keys.key_files import KeyFolder;"
        "KeyFolder(sys.argv[1]).ensure(map(str, range(1, 20)))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [run.wait(240) for run in runs] == [0, 0, 0]
    folder = keys.KeyFolder(tmp_path)
    for box_id in map(str, range(1, 20)):
        secret = keys.read_secret_file(folder.box_secret(box_id))
        assert keys.read_key_file(folder.box_public(box_id)).public == secret.public
    assert not [name for name in names(folder.private_keys) if name.endswith(".part")]


@pytest.mark.parametrize("box_id", ["", "01", "-1", "x", "../1", "1/2", "2147483648", "1\n", "٣"])
def test_a_dangerous_box_id_is_refused(box_id: str, tmp_path: Path) -> None:
    """An id that would leave the folder, or name another file."""
    with pytest.raises(KeyFileError, match="want a whole number"):
        keys.KeyFolder(tmp_path).ensure([box_id])
    assert names(tmp_path) == []


def test_admitted_reports_bad_files_and_continues(tmp_path: Path) -> None:
    folder = keys.KeyFolder(tmp_path)
    folder.create(True, ["1", "20"])
    public = folder.public_keys
    (public / "opqbox3.key").write_bytes(b"garbage")
    (public / "opqbox4.key").mkdir()
    os.mkfifo(public / "opqbox5.key")
    (public / "opqbox06.key").write_bytes(folder.box_public("1").read_bytes())
    (public / "opqbox7.key").write_bytes(folder.box_public("1").read_bytes())
    (public / "opqbox8.key.part").write_bytes(b"half")
    (public / "notes.txt").write_bytes(b"")
    admitted, problems = folder.admitted()
    pairs = {keys.read_key_file(folder.box_public(box_id)).public: box_id for box_id in ("1", "20")}
    assert admitted == pairs
    assert len(problems) == 5
    for name in ("opqbox3.key", "opqbox4.key", "opqbox5.key", "'06'", "opqbox7.key"):
        assert sum(name in problem for problem in problems) == 1
    assert keys.read_key_file(folder.server_public).public not in admitted


def test_a_missing_folder_admits_nobody_and_says_why(tmp_path: Path) -> None:
    admitted, problems = keys.KeyFolder(tmp_path / "none").admitted()
    assert admitted == {}
    assert len(problems) == 1
    assert "cannot be read" in problems[0]


def test_a_key_exchanged_meanwhile_stays_admitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = keys.KeyFolder(tmp_path)
    folder.create(True, ["1"])
    register = KeyRegister(folder)
    register.rotate("1")
    second = keys.read_secret_file(folder.box_secret("1")).public
    read = keys.KeyFolder._public_of
    done: list[bool] = []

    def meanwhile(self: keys.KeyFolder, where: str, name: str) -> bytes:
        public = read(self, where, name)
        if not done:  # after the first key was read, before the second one is
            done.append(register.complete_rotation("1", second))
        return public

    monkeypatch.setattr(keys.KeyFolder, "_public_of", meanwhile)
    admitted, problems = folder.admitted()
    assert done == [True]
    assert admitted[second] == "1" and problems == []
    assert folder.admitted() == ({second: "1"}, [])
