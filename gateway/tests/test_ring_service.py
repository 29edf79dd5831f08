"""Sealing beside a real gateway: it is done, and the child is gone with the gateway however that ends."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from telling_blocks import blocks, pattern
from waiting import wait_for

from opq_gateway.ring import sealed
from opq_gateway.ring.ring import Ring
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost

ALL = (0, 2**62)


def children(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found.update(int(word) for word in task.read_text().split())
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("end", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_an_old_segment_is_sealed(tmp_path: Path, makai: Any, end: signal.Signals) -> None:
    folder = tmp_path / "gateway" / "box1" / "ring"
    segments = ((7, 60), (8, 4), (9, 1), (10, 1))  # the last two stay raw; the first is at work when it ends
    for boot, seconds in segments:
        ring = Ring(folder, "1", 1.0)
        ring.append_all(blocks(0, 12_000 * seconds, boot=boot))
        ring.close()
    lines = [f'data_dir = "{tmp_path}"', 'health_endpoint = "127.0.0.1:0"', "[uplink]"]
    lines += [f'{key} = "{value}"' for key, value in makai.endpoints.items()]
    newest = folder / "000000000002.seg"
    with BoxHost([Box("1")]) as host:
        path = tmp_path / "gateway.toml"
        path.write_text("\n".join([*lines, "[[box]]", 'id = "1"', f'port = "{host.ports["1"]}"']))
        gateway = subprocess.Popen([sys.executable, "-m", "opq_gateway", "run", "--config", str(path)])
        try:
            wait_for(lambda: newest.read_bytes().startswith(sealed.MAGIC))
            (child,) = wait_for(lambda: children(gateway.pid))
        finally:
            gateway.send_signal(end)
            assert gateway.wait(240) == (0 if end == signal.SIGTERM else -signal.SIGKILL)
    wait_for(lambda: not alive(child))
    assert not (folder / "000000000002.sealing").exists()
    again = Ring(folder, "1", 1.0)
    for boot, seconds in segments:
        found = [one.counts for one in again.read_blocks(*ALL) if one.start_id == boot]
        assert np.array_equal(np.concatenate(found), pattern(0, 12_000 * seconds))
