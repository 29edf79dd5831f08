"""Which store a command opens: the one that it names, or that of its system."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from opq_cloud.store import open_store
from opq_cloud.store.store import CloudStore
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.kit.system_place import WhichSystemError, default_data_dir, noted
from opq_proto.kit.system_record import RESTORING, UnfinishedRestoreError
from opq_tools.boxes import losses
from opq_tools.keys.place import KeyPlace
from opq_tools.shared.opened_store import StoreMissingError, stated_nominal, store_place
from opq_tools.system.config_kinds import is_mongo_address

MONGO = "mongodb://db.example/opq"


def test_a_named_mongodb_needs_no_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside two running systems, a question is asked only where its answer matters."""
    for name in ("XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    with ExitStack() as running:
        for offset, name in ((300, "a"), (700, "b")):
            running.enter_context(noted(tmp_path / name, offset))
        with pytest.raises(WhichSystemError, match="2 systems run here"):
            store_place(None, None)
        assert store_place(MONGO, None) == (MONGO, default_data_dir())
        assert store_place(MONGO, tmp_path / "a") == (MONGO, tmp_path / "a")
        assert store_place(None, tmp_path / "a") == (None, tmp_path / "a")
        assert stated_nominal(None) == DEFAULT_NOMINAL


@pytest.mark.parametrize("uri", ["", " "])
def test_an_empty_mongodb_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(StoreMissingError, match="--mongo-uri is empty"):
        store_place(uri, tmp_path)


def test_a_half_restored_folder_is_refused(tmp_path: Path) -> None:
    """Also where its configuration names a MongoDB, which has a part of the back-up then; keys as well."""
    (tmp_path / "config").mkdir()
    (tmp_path / RESTORING).mkdir()
    (tmp_path / "config/cloud.toml").write_text(f'[store]\nmongo_uri = "{MONGO}"\n')
    with pytest.raises(UnfinishedRestoreError, match="run the same `opq-tools restore` again"):
        store_place(None, tmp_path)
    with pytest.raises(UnfinishedRestoreError, match="run the same `opq-tools restore` again"):
        KeyPlace(data_dir=tmp_path).key_folder("curve")
    assert store_place(MONGO, tmp_path) == (MONGO, tmp_path)
    (tmp_path / RESTORING).rmdir()
    assert store_place(None, tmp_path) == (MONGO, tmp_path)


def test_losses_of_a_named_mongodb_need_no_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gateways are of another machine; without it the question is asked."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    @contextmanager
    def opened(mongo_uri: str | None, data_dir: Path | None) -> Iterator[CloudStore]:
        assert (mongo_uri, data_dir) == (MONGO, None)
        with closing(open_store(None, tmp_path / "named")) as store:
            yield store

    monkeypatch.setattr(losses, "opened_store", opened)
    with ExitStack() as running:
        for offset, name in ((300, "a"), (700, "b")):
            running.enter_context(noted(tmp_path / name, offset))
        found = CliRunner().invoke(losses.lost, ["--mongo-uri", MONGO])
        assert (found.output, found.exit_code) == ("nothing was lost\n", 0)
        asked = CliRunner().invoke(losses.lost, [])
        assert "2 systems run here" in str(asked.exception) + asked.output


@pytest.mark.parametrize(
    ("uri", "known"),
    [
        (MONGO, True),
        ("mongodb+srv://db.example/opq", True),
        ("mongodb://[::1]:27017/opq", True),
        ("mongo://db/opq", False),
        ("mongodb://db:notaport/opq", False),
        ("mongodb://db:99999/opq", False),
        ("mongodb://a@b@c/opq", False),
    ],
)
def test_config_check_reads_addresses_of_mongodb(uri: str, known: bool) -> None:
    assert is_mongo_address(uri) == known
