"""`opq-tools sim show` without a scenario, and `sim stop`, on Boxes that run in a thread of this process."""

import json
import threading
from pathlib import Path

from click.testing import CliRunner

from opq_sim.box.box_host import BoxHost
from opq_sim.box.control import serve
from opq_sim.box.run_boxes import plan_fleet
from opq_tools.sim.sim_command import command


def asked(*words: str) -> str:
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_status_counts_and_stop_ends(tmp_path: Path):
    host = BoxHost(plan_fleet(scenario="village").boxes()[:2], ports_dir=tmp_path)
    online, stop = threading.Event(), threading.Event()
    host.on_open = online.set
    thread = threading.Thread(target=serve, args=(host, tmp_path, stop))
    thread.start()
    try:
        assert online.wait(240)
        before = json.loads(asked("show", "--json", "--ports-dir", str(tmp_path)).splitlines()[-1])
        assert list(before["boxes"]) == ["1", "2"]
        assert before["network"]["disturbances"] == 0 and before["network"]["latest"] is None
        asked("event", "fault", "--at", "feeder2/3.1km", "--ports-dir", str(tmp_path))
        system = host.boxes["1"].source.system
        system.before(20.0)
        lines = asked("show", "--ports-dir", str(tmp_path)).splitlines()
        assert [line for line in lines if line.startswith(("box 1 /dev/pts/", "network: 2 disturbances in "))]
        assert "the last, 2: LL fault at feeder2/3.1km, cleared after 120 ms" in lines
        assert f"Boxes 1, 2 in {tmp_path} end" in asked("stop", "--ports-dir", str(tmp_path)).splitlines()
        thread.join(240)
        assert not thread.is_alive()
    finally:
        stop.set()
        thread.join(240)


def test_a_wrong_event_shows_the_right_form():
    for words, said in (
        (("fault", "--box", "1"), "give --at, such as --at feeder2/3.1km, no --box"),
        (("sag", "--at", "mv"), "give --box, such as --box 1, and no --at"),
        (("quake", "--at", "mv"), "KIND is 'quake'; want sag, "),
    ):
        done = CliRunner().invoke(command, ("event", *words))
        assert done.exit_code == 2
        assert said in done.output
        assert done.output.count("\n") == 1
        assert "sim event --help" in done.output
