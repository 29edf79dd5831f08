"""Services that are forked from loaded modules: output, clock, end, and their end with the world."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from opq_sim.faults.parts.fork_server import ForkServer
from opq_sim.faults.parts.stepped_clock import put_step_ns

SERVICE = """
import json, os, signal, sys, time
DEFAULT = time.time_ns
if __name__ == "__main__":
    reported = {"argv": sys.argv[1:], "off_s": round(DEFAULT() / 1e9 - time.monotonic()), "pid": os.getpid()}
    print(json.dumps(reported), file=sys.stderr, flush=True)
    print("not read")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        signal.pause()
"""
WORLD = """
import json, os, signal, sys, time
from pathlib import Path
from opq_sim.faults.parts.fork_server import ForkServer
from opq_sim.faults.parts.stepped_clock import put_step_ns

server = ForkServer(["forked_service"]).__enter__()
clock = Path(sys.argv[1])
put_step_ns(clock, 3600 * 10**9)
here_s = round(time.time() - time.monotonic())
first, second, third = (server.start(clock, ["forked_service", name]) for name in "abc")
reported = [json.loads(each.stderr.readline()) for each in (first, second, third)]
assert [each["argv"] for each in reported] == [["a"], ["b"], ["c"]], reported
assert [each["pid"] for each in reported] == [first.pid, second.pid, third.pid]
assert all(3598 <= each["off_s"] - here_s <= 3602 for each in reported), (reported, here_s)
assert first.runs and second.runs
first.send_signal(signal.SIGKILL)
second.send_signal(signal.SIGTERM)
assert first.ended(60) and second.ended(60)
assert first.stderr.read() == second.stderr.read() == b""
first.send_signal(signal.SIGKILL)  # it has ended: nothing
print(json.dumps(third.pid), flush=True)
sys.stdin.read()
"""


def test_forked_services_end_with_the_world(tmp_path: Path) -> None:
    (tmp_path / "forked_service.py").write_text(SERVICE)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    world = subprocess.Popen(
        [sys.executable, "-c", WORLD, str(tmp_path / "clock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert world.stdout is not None
    line = world.stdout.readline()
    left = os.pidfd_open(json.loads(line)) if line else None
    world.kill()
    world.communicate()
    assert left is not None, "the world failed: see above"
    ending = select.poll()
    ending.register(left, select.POLLIN)
    assert ending.poll(240_000), "a service outlives its world"
    os.close(left)


def test_a_server_without_its_module_says_so(tmp_path: Path) -> None:
    put_step_ns(tmp_path / "clock", 0)
    with ForkServer(["no_such_module"]) as server, pytest.raises(OSError, match="No module named 'no_such"):
        server.start(tmp_path / "clock", ["no_such_module"])
