"""A whole gateway updates itself while it measures, with brokers and store, and is killed at random times.

pytest -m slow gateway/tests/test_update_gateway.py -n 0 -s; OPQ_TEST_CUTS=300 is the number of kills. A batch
of 20 has its own gateway, Box, store and seed: `-n 3` runs three at a time, and a run that was ended goes on
with the batches that are left: `…::test_kills_in_an_update_lose_and_double_nothing[7]`.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from update_scene import Scene, make_bundle, web_server
from update_world import WHOLE, end_group, first_tree, hasten, sources

from opq_cloud.store import open_store
from opq_gateway.ring.ring import Ring
from opq_gateway.update.journal import UpdateFolder
from opq_hil.backends.processes import ended_with_parent
from opq_hil.suites.gateway_process import LATEST_NS, RATE_HZ, UNREAD_EMULATED_S
from opq_proto.keys.key_files import KeyFolder
from opq_proto.messages import Measurement
from opq_proto.release.plan import version_key
from opq_sim.box.box import RING_SAMPLES
from opq_sim.faults.parts.free_ports import free_offset

COUNT = int(os.environ.get("OPQ_TEST_CUTS", "300"))
BATCH = 20
CLOUD = ("triggering-broker", "acquisition-broker", "event-service", "triggering-service")
PHASES = ("downloaded", "building", "ready", "trying", "confirmed")
WITHIN_S = 240.0
WINDOW_S = 0.2
"""A hole in the samples cuts the window before it and the one after it."""


class Gateway:
    """A gateway that is started by its link again and again, as systemd does."""

    def __init__(self, data: Path, offset: int) -> None:
        self.data, self.folder = data, UpdateFolder(data / "gateway")
        self._words = ["run", "--config", str(data / "gateway.toml"), "--data-dir", str(data)]
        self._words += ["--port-offset", str(offset)]
        self.log = data / "gateway.log"
        self._stderr = self.log.open("ab")
        self.process: subprocess.Popen[bytes] | None = None

    def tick(self) -> None:
        """Starts it where it does not run."""
        if self.process is not None and self.process.poll() is not None:
            end_group(self.process)  # what it left, as systemd ends the unit's processes
            self.process = None
        if self.process is None:
            command = ended_with_parent((str(self.folder.link / "bin/opq-gateway"), *self._words))
            self.process = subprocess.Popen(command, start_new_session=True, stderr=self._stderr)
            hasten(self.process)

    def kill(self) -> None:
        if self.process is not None:
            end_group(self.process)

    def until(self, holds: Callable[[], object], what: str, within_s: float = WITHIN_S) -> bool:
        """Whether it holds in time; `what` names what has to: "" for nothing."""
        end_s = time.monotonic() + within_s
        while not holds():
            self.tick()
            if time.monotonic() > end_s:
                assert not what, what
                return False
            time.sleep(0.01)
        return True

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(240)
            finally:
                end_group(self.process)

    def running(self) -> str:
        """The version of the tree that the link names."""
        tree = self.folder.tree(self.folder.linked) if self.folder.linked else self.data.parent / "first"
        found = list(tree.glob("lib/python3*/site-packages/opq_toolkit-*.dist-info"))
        assert len(found) == 1, found
        return found[0].name.removeprefix("opq_toolkit-").removesuffix(".dist-info")

    def phase(self, new: str) -> str:
        """Where the update to a version is."""
        step = self.folder.read().step
        if step != "idle":
            return step
        if self.running() == new:
            return "confirmed"
        places = {"building": self.folder.wheels, "downloaded": self.folder.bundle}
        return next((name for name, path in places.items() if path.exists()), "looking")

    def serves(self) -> bool:
        return (self.data / "gateway/health_address").exists()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def begin(stack: ExitStack, *words: str, log: Path) -> subprocess.Popen[bytes]:
    command = ended_with_parent((sys.executable, *words))
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=log.open("ab")
    )
    stack.callback(end_group, process)
    return process


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("batch", range(-(-COUNT // BATCH)))
def test_kills_in_an_update_lose_and_double_nothing(batch: int, tmp_path: Path, stack: ExitStack) -> None:
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
    words = ("-m", "opq_sim.box", "--sim", "1", "--ports-dir", str(box.parent))
    hasten(begin(stack, *words, log=tmp_path / "box.log"))
    (tmp_path / "cloud.toml").write_text(f'[keys]\nfolder = "{data / "curve"}"\n')
    for service in CLOUD:
        places = ("--config", str(tmp_path / "cloud.toml"), "--data-dir", str(cloud))
        log = tmp_path / f"{service}.log"
        begin(stack, "-m", "opq_cloud", service, *places, "--port-offset", str(offset), log=log)
    stack.callback(gateway.end)

    gateway.until((cloud / "opq.db").exists, "the store is there")
    store = open_store(None, cloud)
    stack.callback(store.close)

    def roll_out(new: str) -> None:
        scene.add(make_bundle(tmp_path / "bundles", new, WHOLE, sources()), new)
        scene.roll_out(new)

    def more() -> None:
        issued = store.highest_sequence("1") or 0
        gateway.until(lambda: (store.highest_sequence("1") or 0) > issued + 2, "Measurements arrive")

    gateway.until(gateway.serves, "the gateway serves")
    gateway.until(lambda: store.highest_sequence("1") is not None, "Measurements arrive")
    chance, seen, longest_s = random.Random(46 + batch), Counter[str](), 0.0
    kills = min(BATCH, COUNT - batch * BATCH)
    for number in range(-1, kills):  # the first is not disturbed
        before, new = gateway.running(), f"0.2.{number + 2}"
        roll_out(new)
        began_s = time.monotonic()
        if number < 0:
            gateway.until(lambda new=new: gateway.running() == new, "an update goes through")
            longest_s = time.monotonic() - began_s
            continue
        if number % 2:  # at any time
            after_s = chance.uniform(0.0, 1.1 * longest_s)
        else:  # most of the time goes by in the trial: in each phase, also in the short ones
            wanted, after_s = chance.choice(PHASES), chance.uniform(0.0, 0.1)
            gateway.until(lambda wanted=wanted, new=new: gateway.phase(new) == wanted, "", longest_s)
        gateway.until(lambda new=new: gateway.running() == new, "", after_s)
        phase = gateway.phase(new)
        gateway.kill()
        found = gateway.running()
        assert version_key(before) <= version_key(found) <= version_key(new)  # one before may have ended late
        seen[f"{phase}: {'new' if found == new else 'old'}"] += 1
        (data / "gateway/health_address").unlink(missing_ok=True)
        gateway.until(gateway.serves, f"{found} serves again after a kill when {phase}")
    gateway.until(lambda: gateway.phase(new) in ("confirmed", "looking"), "the last one ends")
    more()
    gateway.end()
    rows = sorted(store.measurements("1", 0, 1 << 60, 1_000_000), key=lambda each: each.start_ns or 0)
    refused = len(gateway.folder.read().refused)
    holes = holes_in_ring(data / "gateway/box1/ring")
    late_s = [round(each.seconds, 2) for each in holes]
    facts = {"batch": batch, "kills": kills, **seen, "rows": len(rows), "refused": refused, "late_s": late_s}
    facts["longest_s"] = round(longest_s, 1)
    print(f"\nKILLED {json.dumps(facts)}", flush=True)
    numbers = [each.sequence or 0 for each in rows]
    assert len(set(numbers)) == len(numbers), "a number twice"
    assert lost_and_doubled([each for each in rows if not each.crossing], holes) == []
    assert held_by_the_box(holes, gateway.log) == []


@dataclass(frozen=True, slots=True)
class Hole:
    """What is missing between two blocks that the gateway stored."""

    start_ns: int
    end_ns: int
    first_sample: int
    end_sample: int

    @property
    def seconds(self) -> float:
        return (self.end_sample - self.first_sample) / RATE_HZ


def holes_in_ring(folder: Path) -> list[Hole]:
    blocks = Ring(folder, "1", 24.0).read_blocks(0, LATEST_NS)
    assert len({each.start_id for each in blocks}) == 1
    return [
        Hole(before.end_ns, after.t_ns, before.end_sample, after.first_sample)
        for before, after in pairwise(blocks)
        if after.first_sample != before.end_sample
    ]


def held_by_the_box(holes: list[Hole], log: Path) -> list[Hole]:
    """Holes with samples that the Box still held when a start requested what came after the ring's end."""
    opened = [json.loads(line) for line in log.read_text().splitlines() if '"serial.opened"' in line]
    requests = [(each["early_first"], each["early_sample"]) for each in opened if "early_sample" in each]
    kept = RING_SAMPLES - UNREAD_EMULATED_S * RATE_HZ
    return [
        each
        for each in holes
        if not any(first <= each.end_sample <= sample - kept for first, sample in requests)
    ]


def lost_and_doubled(rows: list[Measurement], holes: list[Hole]) -> list[str]:
    """Spans of time that are in two Measurements, or in none although the gateway has their samples."""
    found = []
    for before, after in pairwise(rows):
        start_ns, end_ns = before.end_ns or 0, after.start_ns or 0
        within = [each for each in holes if each.start_ns < end_ns and each.end_ns > start_ns]
        own_s = (end_ns - start_ns - sum(each.end_ns - each.start_ns for each in within)) / 1e9
        if not -0.001 < own_s < (2 * WINDOW_S * len(within) if within else 0.001):
            found.append(f"{before.sequence} to {after.sequence}: {own_s:.3f} s")
    return found
