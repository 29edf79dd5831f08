"""The plug-in host: finds by name, checks the contract and the settings, contains what is thrown."""

import subprocess
import sys
from pathlib import Path

import pytest

from opq_plugins.host.failure_guard import PAUSES_S, CrashGuard
from opq_plugins.package.built_in import available, load
from opq_proto.errors import PluginError

GOOD = '''
"""Says yes. More text."""
from collections.abc import Mapping
from dataclasses import dataclass, field
name = "good"
version = "1.2"
@dataclass(frozen=True, slots=True)
class Config:
    limit: float = field(metadata={"minimum": 0, "help": "where it begins"})
    count: int = 3
    label: str | None = None
    boxes: tuple[str, ...] = ()
    extra: Mapping[str, float] = field(default_factory=dict)
    on: bool = True
    def __post_init__(self):
        if self.count > self.limit:
            raise ValueError("count  is above limit")
def begin(config): return 0
def decide(measurement, nominal, config, state): return None, state
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text(GOOD)
    return tmp_path


def problems(folder: Path, name: str = "good", kind: str = "trigger", **settings: object) -> str:
    with pytest.raises(PluginError) as caught:
        load(kind, name, settings, [folder])
    return str(caught.value)


def test_a_file_beside_others_is_a_plugin(folder: Path) -> None:
    plugin = load("trigger", "good", {"limit": 5, "boxes": ["1", "4"]}, [folder])
    assert (plugin.name, plugin.module.version) == ("good", "1.2")
    assert (plugin.config.limit, plugin.config.boxes, plugin.config.count) == (5.0, ("1", "4"), 3)
    assert isinstance(plugin.config.limit, float)


def test_the_first_folder_wins(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("own")
    (other / "good.py").write_text(GOOD.replace("1.2", "9"))
    assert load("trigger", "good", {"limit": 5}, [other, folder]).module.version == "9"


def test_all_wrong_settings_are_reported_at_once(folder: Path) -> None:
    text = problems(folder, limti=1, count=1.5, on="yes", boxes="1", label=3)
    for line in (
        'limti  unknown key; did you mean "limit"?',
        "limit  missing: where it begins",
        "count  is 1.5; want a whole number",
        "on  is 'yes'; want true or false",
        "boxes  is '1'; want a list",
        "label  is 3; want text or want nothing",
    ):
        assert line in text
    assert "6 problems, it was not started" in text


def test_ranges_and_rules_over_fields_apply(folder: Path) -> None:
    assert "limit  is -1; want from 0" in problems(folder, limit=-1)
    assert "count  is above limit" in problems(folder, limit=1)


def test_a_non_finite_number_is_refused(folder: Path) -> None:
    assert "want a number" in problems(folder, limit=float("nan"))
    assert "want a number" in problems(folder, limit=True)


def test_an_unknown_name_suggests_a_near_one(folder: Path) -> None:
    assert 'did you mean "good"?' in problems(folder, "goood")
    assert "there are: good" in problems(folder, "zzz")


@pytest.mark.parametrize("name", ["../good", "/etc/passwd", "good.py", "", "GOOD", "_private"])
def test_a_name_never_leaves_the_folder(folder: Path, name: str) -> None:
    assert "not found" in problems(folder, name)


def test_a_broken_contract_is_reported_in_full(folder: Path) -> None:
    (folder / "bad.py").write_text("name = 'other'\napi = 7\nclass Config: pass\n")
    text = problems(folder, "bad")
    assert "no `begin`" in text
    assert "no `decide`" in text
    assert "'other'; want 'bad'" in text
    assert "`api` is 7" in text
    assert "Config is not a dataclass" in text


@pytest.mark.parametrize("code", ["import no_such_module", "1 / 0", "def broken(", "raise SystemExit(3)"])
def test_code_that_does_not_load_is_one_error(folder: Path, code: str) -> None:
    (folder / "bad.py").write_text(code)
    assert "does not load" in problems(folder, "bad")
    assert "opq_plugin_trigger_bad" not in sys.modules


def test_a_wrong_plug_in_name_is_not_offered(folder: Path) -> None:
    (folder / "_inner.py").write_text("")
    (folder / "notes.txt").write_text("")
    assert list(available([folder])) == ["good"]


def test_an_unknown_kind_is_reported(folder: Path) -> None:
    assert "not a kind of plug-in" in problems(folder, kind="gadget")


def test_the_host_imports_nothing_of_the_rules_extra() -> None:
    code = (
        "import sys, opq_plugins.package.built_in, opq_plugins.host.failure_guard\n"
        "print([m for m in ('pydantic', 'structlog', 'msgspec', 'sqlglot', 'zmq') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_crash_is_answered_with_growing_pauses() -> None:
    now = [0.0]
    told: list[float] = []
    guard = CrashGuard(lambda error, pause_s: told.append(pause_s), lambda: now[0])

    def crash() -> None:
        raise RuntimeError("foreign")

    for _ in range(4):
        assert guard.call(crash) == (False, None)
        assert guard.paused == (told[-1] > 0)
        skipped = guard.skipped
        if guard.paused:
            assert guard.call(lambda: 1) == (False, None)
            assert guard.skipped == skipped + 1
        now[0] += told[-1]
    assert told == list(PAUSES_S[:4])
    assert guard.call(lambda: 1) == (True, 1)
    now[0] += 100
    guard.call(crash)
    assert told[-1] == PAUSES_S[0]
