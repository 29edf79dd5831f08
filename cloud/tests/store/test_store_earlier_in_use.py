"""A command of this version leaves a store alone that services of an earlier version write."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from command_in_process import run_in_process
from store_before import packed, restored

from opq_cloud.store import FILE_NAME, open_store
from opq_cloud.store.service_lock import locked_files
from opq_proto.errors import StoreError

HOLDER = """
import sys
from pathlib import Path
from opq_cloud.store.service_lock import locked_files
with locked_files(["view"], Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_store_is_not_migrated_beneath_a_service(tmp_path: Path) -> None:
    _earlier(tmp_path)
    before = _schema(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as service:
        assert service.stdin is not None and service.stdout is not None
        assert service.stdout.readline() == b"held\n"
        wanted = f"has schema {before}, .* view .process {service.pid}. of an earlier version"
        with pytest.raises(StoreError, match=wanted):
            open_store(None, tmp_path)
        checked = run_in_process("store", "check", "--data-dir", str(tmp_path))
        assert checked.returncode == 1 and f"{tmp_path} was not checked: " in checked.stderr
        assert "repair" not in checked.stderr
        assert _schema(tmp_path) == before
        with locked_files(["mauka"], tmp_path):  # a service of this version, started beside it
            open_store(None, tmp_path).close()
        assert _schema(tmp_path) > before
        open_store(None, tmp_path).close()
        service.stdin.close()


def test_a_store_without_services_is_migrated(tmp_path: Path) -> None:
    _earlier(tmp_path)
    before = _schema(tmp_path)
    (tmp_path / "view.lock").write_text("vm 1")  # left by a service that has ended
    open_store(None, tmp_path).close()
    assert _schema(tmp_path) > before


def _earlier(folder: Path) -> None:
    restored(str(folder), next(dump for name, dump, _ in packed() if name == "embedded"))


def _schema(folder: Path) -> int:
    with closing(sqlite3.connect(folder / FILE_NAME)) as opened:
        return int(opened.execute("PRAGMA user_version").fetchone()[0])
