"""What a gateway writes is for its user alone, whatever the umask of the process is."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from private_files import open_to_others
from waiting import wait_for

from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.whole_file import open_private, private_folder
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost


@pytest.mark.parametrize("umask", [0o000, pytest.param(0o022, marks=pytest.mark.slow)])
def test_ring_ledger_queue_and_rules_are_private(umask: int, tmp_path: Path, makai: Any) -> None:
    data_dir, log, config = tmp_path / "D", tmp_path / "log", tmp_path / "gateway.toml"
    KeyFolder(data_dir / "curve").create(True, ["1"])
    with BoxHost([Box("1")]) as host, log.open("wb") as out:
        config.write_text(
            f'data_dir = "{data_dir}"\nhealth_endpoint = "127.0.0.1:0"\n'
            + f'[[box]]\nid = "1"\nport = "{host.ports["1"]}"\n[uplink]\n'
            + "".join(f'{name} = "{endpoint}"\n' for name, endpoint in makai.endpoints.items())
            + f'[rules]\nenabled = true\nendpoint = "127.0.0.1:{free_port()}"\n'
        )
        command = [sys.executable, "-m", "opq_gateway", "run", "--config", str(config)]
        with subprocess.Popen(command, stdout=out, stderr=out, umask=umask) as gateway:
            try:
                box = data_dir / "gateway" / "box1"
                wait_for(
                    lambda: {each.parent.name for each in box.rglob("*") if each.is_file()} >= {"ring"}, 60
                )
                wait_for(lambda: list(box.rglob("w*")))  # the ledger's first window
            finally:
                gateway.send_signal(signal.SIGTERM)
                assert gateway.wait(240) == 0, log.read_text()
    assert open_to_others(data_dir) == []
    assert sum(each.is_file() for each in data_dir.rglob("*")) > 8


def test_our_folders_are_closed_and_operators_unchanged(tmp_path: Path) -> None:
    """An operator's folder keeps its rights."""
    tmp_path.chmod(0o755)
    old = tmp_path / "gateway"
    old.mkdir(mode=0o755)
    (old / "lock").touch(0o644)
    private_folder(old / "box1")
    assert (tmp_path.stat().st_mode & 0o777, old.stat().st_mode & 0o777) == (0o755, 0o755)
    private_folder(old)
    open_private(old / "lock", 0)
    modes = [each.stat().st_mode & 0o777 for each in (tmp_path, old, old / "box1", old / "lock")]
    assert modes == [0o755, 0o700, 0o700, 0o600]


def test_new_folders_accept_no_foreign_key(tmp_path: Path) -> None:
    code = (
        "import sys; from opq_proto.keys.key_files import KeyFolder as F; F(sys.argv[1]).create(True, ['1'])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "D" / "curve")]
    subprocess.run(command, umask=0, check=True, timeout=600)
    assert KeyFolder(tmp_path / "D" / "curve").server_secret.is_file()
    assert open_to_others(tmp_path / "D") == []
