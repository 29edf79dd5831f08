"""A whole gateway updates itself while it measures, with brokers and store, and is killed at random times.

pytest -m slow gateway/tests/test_update_gateway.py -n 0 -s; OPQ_TEST_CUTS=300 is the number of kills.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from update_scene import Scene, make_bundle, web_server
from update_world import WHOLE, end_group, first_tree, sources

from opq_cloud.store import open_store
from opq_gateway.update.journal import UpdateFolder
from opq_proto.keys.key_files import KeyFolder
from opq_sim.faults.parts.free_ports import free_offset

COUNT = int(os.environ.get("OPQ_TEST_CUTS", "300"))
CLOUD = ("triggering-broker", "acquisition-broker", "event-service", "triggering-service")
WITHIN_S = 240.0


class Gateway:
    """A gateway that is started by its link again and again, as systemd does."""

    def __init__(self, data: Path, offset: int) -> None:
        self.data, self.folder = data, UpdateFolder(data / "gateway")
        self._words = ["run", "--config", str(data / "gateway.toml"), "--data-dir", str(data)]
        self._words += ["--port-offset", str(offset)]
        self._log = (data / "gateway.log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None

    def tick(self) -> None:
        """Starts it where it does not run."""
        if self.process is not None and self.process.poll() is not None:
            end_group(self.process)  # what it left, as systemd ends the unit's processes
            self.process = None
        if self.process is None:
            command = [str(self.folder.link / "bin/opq-gateway"), *self._words]
            self.process = subprocess.Popen(command, start_new_session=True, stderr=self._log)

    def kill(self) -> None:
        if self.process is not None:
            end_group(self.process)

    def until(self, holds: object, what: str) -> None:
        end_s = time.monotonic() + WITHIN_S
        while not holds():  # type: ignore[operator]
            self.tick()
            assert time.monotonic() < end_s, what
            time.sleep(0.02)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            finally:
                end_group(self.process)

    def running(self) -> str:
        """The version of the tree that the link names."""
        tree = self.folder.tree(self.folder.linked) if self.folder.linked else self.data.parent / "first"
        found = list(tree.glob("lib/python3*/site-packages/opq_toolkit-*.dist-info"))
        assert len(found) == 1, found
        return found[0].name.removeprefix("opq_toolkit-").removesuffix(".dist-info")

    def answers(self) -> bool:
        return (self.data / "gateway/health_address").exists()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def begin(stack: ExitStack, *words: str, log: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, *words], start_new_session=True, stdout=subprocess.DEVNULL, stderr=log.open("ab")
    )
    stack.callback(end_group, process)


@pytest.mark.slow
@pytest.mark.timeout(20_000)
def test_kills_in_an_update_lose_and_double_nothing(tmp_path: Path, stack: ExitStack) -> None:
    data, cloud, (offset,) = tmp_path / "data", tmp_path / "cloud", free_offset(1, 1)
    keys = KeyFolder(data / "curve")
    keys.create(server=True, box_ids=("1",))
    scene = Scene(tmp_path / "repository")
    first = first_tree(tmp_path / "first", tmp_path / "old", WHOLE)
    server = stack.enter_context(web_server(tmp_path / "repository"))
    gateway = Gateway(data, offset)
    gateway.folder.path.mkdir(parents=True)
    gateway.folder.point(first)
    scene.trust(gateway.folder.path)
    box = tmp_path / "ports/box1"
    text = (
        f'[[box]]\nid = "1"\nport = "{box}"\n[measuring]\nflicker = false\n[update]\nurl = "{server.url}"\n'
    )
    (data / "gateway.toml").write_text(text)
    begin(stack, "-m", "opq_sim.box", "--sim", "1", "--ports-dir", str(box.parent), log=tmp_path / "box.log")
    (tmp_path / "cloud.toml").write_text(f'[keys]\nfolder = "{data / "curve"}"\n')
    for service in CLOUD:
        places = ("--config", str(tmp_path / "cloud.toml"), "--data-dir", str(cloud))
        log = tmp_path / f"{service}.log"
        begin(stack, "-m", "opq_cloud", service, *places, "--port-offset", str(offset), log=log)
    stack.callback(gateway.end)

    gateway.until((cloud / "opq.db").exists, "the store is there")
    store = open_store(None, cloud)
    stack.callback(store.close)

    gateway.until(gateway.answers, "the gateway serves")
    gateway.until(lambda: store.highest_sequence("1") is not None, "Measurements arrive")
    chance, seen = random.Random(46), Counter[str]()
    longest_s = 10.0
    for number in range(COUNT):
        before, new = gateway.running(), f"0.2.{number + 1}"
        scene.add(make_bundle(tmp_path / "bundles", new, WHOLE, sources()), new)
        began_s = time.monotonic()
        scene.roll_out(new)
        kill_s = began_s + chance.uniform(0.0, 1.1 * longest_s)
        while time.monotonic() < kill_s and gateway.running() != new:
            gateway.tick()
            time.sleep(0.01)
        if gateway.running() == new:
            longest_s = min(max(longest_s, time.monotonic() - began_s), 60.0)
        seen[f"killed while {gateway.folder.read().step}"] += 1
        gateway.kill()
        found = gateway.running()
        assert found in (before, new)
        seen["new" if found == new else "old"] += 1
        (data / "gateway/health_address").unlink(missing_ok=True)
        gateway.until(gateway.answers, "it serves again")
        if number % 25 == 24:
            print(f"{number + 1} kills: {dict(seen)}, an update takes {longest_s:.1f} s", flush=True)
    last = f"0.2.{COUNT}"
    gateway.until(lambda: gateway.running() == last or last in gateway.folder.read().refused, "it ends")
    issued = store.highest_sequence("1") or 0
    gateway.until(lambda: (store.highest_sequence("1") or 0) > issued + 2, "Measurements arrive still")
    gateway.end()
    rows = sorted(store.measurements("1", 0, 1 << 60, 1_000_000), key=lambda each: each.start_ns or 0)
    numbers = [each.sequence or 0 for each in rows]
    spans = [(each.start_ns or 0, each.end_ns or 0) for each in rows if not each.crossing]
    gaps_s = [(after[0] - before[1]) / 1e9 for before, after in pairwise(spans)]
    # a kill skips reserved numbers (uplink/sequence_numbers.py); one that is lost leaves a gap in time too
    lost = [
        (before.sequence, after.sequence)
        for before, after in pairwise(each for each in rows if not each.crossing)
        if (after.sequence or 0) > (before.sequence or 0) + 1
        and (after.start_ns or 0) - (before.end_ns or 0) > 500_000_000
    ]
    late_s = [round(each, 1) for each in gaps_s if each > 0.05]
    print(f"{COUNT} kills: {dict(seen)}; {len(rows)} Measurements, lost {lost}, samples lost for {late_s} s")
    assert len(set(numbers)) == len(numbers)
    assert min(gaps_s) > -0.001, "no span twice"
    assert lost == []
