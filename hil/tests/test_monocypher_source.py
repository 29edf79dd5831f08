"""Monocypher's source: only the archive that we know is unpacked; what is missing is reported."""

from pathlib import Path

import pytest

from opq_hil.backends import monocypher_source
from opq_hil.backends.debian_source import SourceError
from opq_hil.backends.monocypher_source import monocypher, unpack
from opq_hil.backends.pinned import PYMONOCYPHER_SHA256


def test_an_archive_with_another_hash_is_not_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "pymonocypher.tar.gz"
    archive.write_bytes(b"something else")
    with pytest.raises(SourceError, match="nothing was unpacked"):
        unpack(archive, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_a_given_folder_is_used_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONOCYPHER_DIR", str(tmp_path))
    with pytest.raises(SourceError, match=r"no monocypher\.c"):
        monocypher()
    (tmp_path / "monocypher.c").touch()
    found = monocypher()
    assert (found.path, found.sha256) == (tmp_path.resolve(), "")
    assert "MONOCYPHER_DIR" in found.note


def test_without_network_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> tuple[int, list[str]]:
        return 1, ["WARNING: Retrying", "ERROR: no network"]

    monkeypatch.delenv("MONOCYPHER_DIR", raising=False)
    monkeypatch.setattr(monocypher_source, "run_step", offline)
    with pytest.raises(SourceError, match=r"no network.*MONOCYPHER_DIR"):
        monocypher(tmp_path)
    assert [path.name for path in (tmp_path / "sources").iterdir()] == ["pymonocypher.lock"]


def test_what_was_fetched_once_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*_: object, **__: object) -> None:
        raise AssertionError("pip was called")

    monkeypatch.delenv("MONOCYPHER_DIR", raising=False)
    folder = tmp_path / "sources" / f"pymonocypher-{PYMONOCYPHER_SHA256[:16]}"
    folder.mkdir(parents=True)
    monkeypatch.setattr(monocypher_source, "run_step", fetched)
    found = monocypher(tmp_path)
    assert (found.path, found.version) == (folder, "4.0.3")
