"""A gateway that is killed leaves no sample unmeasured and measures none twice; all of it real."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from waiting import wait_for

from opq_gateway.measuring.ledger import Ledger
from opq_proto.messages import Measurement
from opq_proto.wire.frames import ACK_PLUGIN, plugin_command
from opq_sim.box.box import Box
from opq_sim.box.host import BoxHost

EDGE_NS = 100_000
"""What two runs of the gateway may say differently of one cycle edge."""


def written(folder: Path, makai: Any, port: str) -> Path:
    lines = [
        f'data_dir = "{folder}"',
        'health_endpoint = "127.0.0.1:0"',
        "measurement_cycles = 12",
        "[uplink]",
    ]
    lines += [f'{key} = "{value}"' for key, value in makai.endpoints.items()]
    lines += ["[[box]]", 'id = "1"', f'port = "{port}"']
    path = folder / "gateway.toml"
    path.write_text("\n".join(lines))
    return path


def made_by(makai: Any) -> list[Measurement]:
    """What came, each once: what was not acknowledged is sent again."""
    once = {each.sequence: each for each in makai.decoded() if not each.crossing}
    return sorted(once.values(), key=lambda each: each.start_ns or 0)


def has_gone_on(found: list[Measurement], seen: int, live: bool) -> bool:
    """Four more; with `live` what was missed is there too: Measurements are made in order."""
    if len(found) < seen + 4:
        return False
    return not live or time.time_ns() - (found[-1].end_ns or 0) < 2 * 10**9


def test_kill_9_leaves_no_cycle_unmeasured_and_measures_none_twice(tmp_path: Path, makai: Any) -> None:
    with BoxHost([Box("1")]) as host:
        path = written(tmp_path, makai, host.ports["1"])
        command = [sys.executable, "-m", "opq_gateway", "run", "--config", str(path)]
        for kills in range(2):
            seen = len(made_by(makai))
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                try:
                    first = wait_for(lambda seen=seen: made_by(makai)[seen:], 30.0)[0]
                    makai.command(b"1", plugin_command("1", ACK_PLUGIN, str(first.sequence), "test"))
                    wait_for(
                        lambda seen=seen, kills=kills: has_gone_on(made_by(makai), seen, kills > 0), 30.0
                    )
                finally:
                    os.kill(process.pid, signal.SIGTERM if kills else signal.SIGKILL)
                    process.wait(60)
    found = made_by(makai)
    for before, after in pairwise(found):
        assert before.end_ns is not None and after.start_ns is not None
        assert abs(after.start_ns - before.end_ns) < EDGE_NS
    assert any(each.backfilled for each in found)
    rows = list(Ledger(tmp_path / "gateway" / "box1" / "ledger", "1", 24.0, 30.0).read("window", 0, 2**62))
    assert len(rows) >= 6 and all(before.start_ns < after.start_ns for before, after in pairwise(rows))
