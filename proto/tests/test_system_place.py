"""Which system a command is for: what it was given, else the one that runs here, else the default."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from opq_proto.kit import system_place
from opq_proto.kit.system_place import (
    WhichSystemError,
    default_data_dir,
    find_system,
    noted,
    notes_folder,
    running_systems,
    start_of,
)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def both(state: Path) -> Iterator[tuple[Path, Path]]:
    folders = state / "a", state / "b"
    with ExitStack() as running:
        for offset, folder in zip((300, 700), folders, strict=True):
            assert running.enter_context(noted(folder, offset)) == ""
        yield folders


def test_without_a_running_system_it_is_the_default(state: Path) -> None:
    assert find_system(None, None) == (state / "data" / "opq", 0)
    assert find_system(state / "x", None) == (state / "x", 0)
    assert find_system(None, 5) == (default_data_dir(), 5)
    assert find_system(state / "x", 5) == (state / "x", 5)


def test_a_running_system_is_found_until_it_ends(state: Path) -> None:
    with noted(state / "up", 400):
        assert find_system(None, None) == (state / "up", 400)
        (note,) = notes_folder().iterdir()
        assert note.stat().st_mode & 0o077 == 0 and json.loads(note.read_text())["pid"] == os.getpid()
    assert not list(notes_folder().iterdir())
    assert find_system(None, None) == (default_data_dir(), 0)


def test_the_units_system_is_found_by_process(
    state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data, units, program = state / "lib", tmp_path / "units", tmp_path / "opq-cloud"
    monkeypatch.setattr(system_place, "UNITS", units)
    monkeypatch.setattr(system_place, "UNITS_DATA_DIR", data)
    program.write_text("input()")
    command = (sys.executable, program, "all", "--data-dir", data)
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        assert running_systems() == [], "no unit is installed"
        units.mkdir()
        (units / "opq-cloud@.service").touch()
        while not running_systems():  # until its process has begun
            assert process.poll() is None
        assert [(each.data_dir, each.pid) for each in running_systems()] == [(str(data), process.pid)]
        assert find_system(None, None) == (data, 0)
        with noted(default_data_dir(), 400):
            assert find_system(None, None) == (default_data_dir(), 400), "this user's own"
        process.communicate("\n")
    assert running_systems() == [] and find_system(None, None) == (data, 0)
    default_data_dir().mkdir(parents=True)
    assert find_system(None, None) == (default_data_dir(), 0)


def test_the_fitting_system_is_chosen(both: tuple[Path, Path], state: Path) -> None:
    first, second = both
    assert find_system(second, None) == (second, 700) and find_system(None, 300) == (first, 300)
    assert find_system(state / "a" / ".." / "b", None)[1] == 700
    assert find_system(state / "other", None) == (state / "other", 0)
    with pytest.raises(WhichSystemError, match=f"2 systems run here; give --data-dir {first} or --data-dir "):
        find_system(None, None)
    with noted(default_data_dir(), 0):
        assert find_system(None, None) == (default_data_dir(), 0)


def test_a_killed_systems_note_is_ignored(state: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from opq_proto.kit.system_place import noted\n"
        "with noted(Path(sys.argv[1]), 900):\n print('noted', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(state / "up")], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"noted\n"
    assert [each.pid for each in running_systems()] == [process.pid]
    process.kill()
    process.wait(240)
    process.stdout.close()
    (note,) = notes_folder().iterdir()
    assert running_systems() == []
    # the number may be another process's now: that one was started at another time
    written = json.loads(note.read_text())
    note.write_text(json.dumps(written | {"pid": os.getpid()}))
    assert running_systems() == []
    note.write_text(json.dumps(written | {"pid": os.getpid(), "started": start_of(os.getpid())}))
    assert [each.port_offset for each in running_systems()] == [900]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pid": 1}', '{"pid": "x", "started": "s"}'])
def test_a_note_that_cannot_be_read_is_none(state: Path, text: str) -> None:
    notes_folder().mkdir(parents=True)
    (notes_folder() / "x.json").write_text(text)
    assert running_systems() == []


def test_without_a_note_the_system_runs(state: Path) -> None:
    (state / "state").write_text("a file")
    with noted(state / "up", 0) as why:
        assert "state" in why and running_systems() == []
