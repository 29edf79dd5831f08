"""A gateway that is killed leaves no sample unmeasured and measures none twice; all of it real."""

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from waiting import wait_for

from opq_gateway.measuring.ledger import Ledger
from opq_gateway.ring.ring import Ring
from opq_proto.measurement.wire import measurement_from_wire
from opq_proto.messages import Measurement
from opq_proto.wire.frames import ACK_PLUGIN, plugin_command
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost

EDGE_NS = 100_000
"""What two runs of the gateway may say differently of one cycle edge."""
WINDOW_S = 0.2
WAIT_S = 240.0
"""Ends what hangs: a gateway that starts takes 30 s where ten programs share a core."""


GATEWAY = """
import sys, threading
from pathlib import Path
from opq_gateway.__main__ import main
from opq_gateway.uplink.uplink import Uplink
hold, publish = Path(sys.argv.pop(1)), Uplink.publish
def late(*arguments):
    if hold.exists():
        threading.Event().wait()
    publish(*arguments)
Uplink.publish = late
main()
"""
"""A gateway whose measuring stops once a file is there, as on a busy core, while its ring goes on."""


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


class Made:
    """What came, each once: what was not acknowledged is sent again.

    Each frame is decoded once: the Box that sends to the gateway runs in this process too, and needs its CPU.
    """

    def __init__(self, makai: Any) -> None:
        self._makai, self._read = makai, 0
        self._once: dict[int | None, Measurement] = {}

    def __call__(self) -> list[Measurement]:
        bodies = [body for _, body in self._makai.measurements[self._read :]]
        self._read += len(bodies)
        came = [measurement_from_wire(body) for body in bodies]
        windows = (each for each in came if each.is_window and not each.crossing)
        self._once |= {each.sequence: each for each in windows}
        return sorted(self._once.values(), key=lambda each: each.start_ns or 0)


def missing_s(measurement: Measurement) -> float:
    """How long samples are missing before it, whatever the reason."""
    metrics = measurement.metrics.items()
    return sum(metric.average for name, metric in metrics if name.startswith("missing_"))


def has_gone_on(found: list[Measurement], seen: int, live: bool) -> bool:
    """Four more; with `live` the newest was measured as its samples came, so what was missed is there too."""
    return len(found) >= seen + 4 and not (live and found[-1].backfilled)


def test_kill_9_measures_every_cycle_once(tmp_path: Path, makai: Any) -> None:
    made = Made(makai)
    with BoxHost([Box("1")]) as host:
        path = written(tmp_path, makai, host.ports["1"])
        hold = tmp_path / "hold"
        command = [sys.executable, "-c", GATEWAY, str(hold), "run", "--config", str(path)]
        ring = Ring(tmp_path / "gateway" / "box1" / "ring", "1", 24.0)

        def is_ahead() -> bool:
            """The ring has a whole window that was not measured."""
            newest = ring.newest()
            return newest is not None and newest.end_ns > (made()[-1].end_ns or 0) + 2.5 * WINDOW_S * 1e9

        for kills in range(2):
            seen = len(made())
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                try:
                    first = wait_for(lambda seen=seen: made()[seen:], WAIT_S)[0]
                    makai.command(b"1", plugin_command("1", ACK_PLUGIN, str(first.sequence), "test"))
                    wait_for(lambda seen=seen, kills=kills: has_gone_on(made(), seen, kills > 0), WAIT_S)
                    if not kills:
                        hold.touch()
                        wait_for(is_ahead, WAIT_S)
                finally:
                    hold.unlink(missing_ok=True)
                    os.kill(process.pid, signal.SIGTERM if kills else signal.SIGKILL)
                    process.wait(240)
    found = made()
    for before, after in pairwise(found):
        hole_ns = (after.start_ns or 0) - (before.end_ns or 0)
        assert hole_ns > -EDGE_NS
        # A Box holds 3.2 s. Where a gateway takes longer to start, on a busy machine, the Box has dropped the
        # oldest; the Measurement after the hole reports it, and the windows that it cuts are not measured.
        if hole_ns >= EDGE_NS:
            assert missing_s(after) > 0 and hole_ns < (missing_s(after) + 2 * WINDOW_S) * 1e9
    assert any(each.backfilled or missing_s(each) for each in found)
    rows = list(Ledger(tmp_path / "gateway" / "box1" / "ledger", "1", 24.0, 30.0).read("window", 0, 2**62))
    assert len(rows) >= 6 and all(before.start_ns < after.start_ns for before, after in pairwise(rows))
