"""`opq-tools status` reads the store that the system's configuration names."""

import json
from contextlib import closing
from pathlib import Path

from command_in_process import run_in_process
from free_ports import free_offset

from opq_cloud.store import BoxRecord, open_store


def test_status_lists_boxes_of_a_mongodb(mongo_uri: str, tmp_path: Path) -> None:
    with closing(open_store(mongo_uri, tmp_path)) as store:
        store.put_box(BoxRecord("7", "alone"))
    assert _listed(tmp_path, f'mongo_uri = "{mongo_uri}"') == ["7"]


def test_status_lists_boxes_of_a_folder_elsewhere(tmp_path: Path) -> None:
    with closing(open_store(None, tmp_path / "disk")) as store:
        store.put_box(BoxRecord("8", "alone"))
    assert _listed(tmp_path, f'data_dir = "{tmp_path / "disk"}"') == ["8"]


def _listed(data_dir: Path, stored: str) -> list[str]:
    (data_dir / "config").mkdir()
    (data_dir / "config" / "cloud.toml").write_text(f"[store]\n{stored}\n")
    where = ("--data-dir", str(data_dir), "--port-offset", str(free_offset()))
    found = json.loads(run_in_process("status", "--json", *where).stdout)
    return [each["box_id"] for each in found["boxes"]]
