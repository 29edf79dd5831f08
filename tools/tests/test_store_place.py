"""Which store a command opens: the one that it names, or that of its system."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.kit.system_place import WhichSystemError, default_data_dir, noted
from opq_tools.shared.opened_store import StoreMissingError, stated_nominal, store_place

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
