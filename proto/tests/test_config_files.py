"""Configuration files: TOML or JSON, and one line for what is neither; where data goes."""

import json
from pathlib import Path

import pytest

from opq_proto.config.reading import load, section
from opq_proto.errors import ConfigError
from opq_proto.kit.system_place import default_data_dir


@section
class Uplink:
    endpoint: str


@section
class Gateway:
    uplink: Uplink


def test_json_is_read_by_name_or_by_look(tmp_path: Path) -> None:
    for name in ("makai.config.json", "makai.conf"):
        (tmp_path / name).write_text(json.dumps({"uplink": {"endpoint": "e"}}))
        assert load(Gateway, tmp_path / name).uplink.endpoint == "e"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.toml", b"y = 1\nx = ]", "a.toml: is not TOML: .*line 2"),
        ("a.json", b'{"x": ', "a.json: is not JSON: .*line 1"),
        ("a.json", b"[1, 2]", "want a table of keys"),
        ("a.json", b"[" * 100_000, "a.json: is not JSON"),
        ("a.toml", b"x = '\xff'", "byte 5 is not UTF-8"),
        ("a.toml", b"\0", "is not TOML"),
        ("a.toml", b"a = 1\na = 2", "is not TOML"),
    ],
)
def test_an_unreadable_file_is_one_line(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=says) as caught:
        load(Gateway, path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load(Gateway, tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(Gateway, tmp_path)


def test_the_data_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "opq"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_DATA_HOME", ignored)
        assert default_data_dir() == tmp_path / "home" / ".local" / "share" / "opq"
