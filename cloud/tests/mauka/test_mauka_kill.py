"""Kill -9 of a Mauka process at any moment: nothing is lost, nothing is doubled."""

import random
import subprocess
import sys
import time

import numpy as np
import pytest

from opq_cloud.store import open_store
from opq_proto.messages import TimeSource, Trigger, Waveform

MAUKA = """
import sys, threading, time
from pathlib import Path
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.mauka.plugin import PUB_KEY, SUB_KEY
from opq_plugins.sdk.modules import Analysis
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.store import open_store
from opq_proto.kit import log
log.configure("mauka")
store = open_store(None, Path(sys.argv[1]))
analyses = load_analyses([])
def hang(*_):
    print("here", flush=True)
    time.sleep(60)
if sys.argv[2] == "analysing":
    analyses.append(Analysis("hang", hang, analyses[0].config))
if sys.argv[2] == "marking":
    store.mark_analysed = hang
if sys.argv[2] == "some":  # events are left, however late the kill comes
    mark, marks = store.mark_analysed, iter(range(10))
    store.mark_analysed = lambda *given: (mark if next(marks, None) is not None else hang)(*given)
unused = "tcp://127.0.0.1:9"  # no bus is needed; not inproc: libzmq 4.3.5 may crash ending unbound ones
runner = AnalysisRunner({PUB_KEY: unused, SUB_KEY: unused}, lambda: store, analyses)
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
print("runs", flush=True)
runner.run(stop)
store.close()
"""

START_NS = 1_700_000_000_000_000_000


def put_events(store, count):
    """`count` events a minute apart, each with one sag at two Boxes: two findings, one incident."""
    t_s = np.arange(12_000) / 12_000
    volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * t_s)
    volts[6_000:7_200] *= 0.6
    counts = np.round(volts / 0.0068).astype(np.int16)
    for number in range(count):
        start_ns = START_NS + number * 60 * 10**9
        trigger = Trigger(f"token{number}", start_ns, start_ns + 10**9, ("1", "2"), "1", "test")
        event_id = store.open_event(trigger, "test")
        for box_id in ("1", "2"):
            store.put_waveform(
                event_id,
                Waveform(
                    box_id, start_ns, 1_000_000, TimeSource.NTP, 12_000_000, 0.0068, number * 720_000, counts
                ),
            )
        store.finish_event(event_id)


def start(folder, mode="normal"):
    """Returns once its imports are over."""
    with (folder / "stderr").open("wb") as lines:
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", MAUKA, str(folder), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=lines,
        )
    assert process.stdout.readline() == b"runs\n", (folder / "stderr").read_text()[-3000:]
    return process


def finish(folder, store):
    """Run a healthy Mauka until nothing is left to do."""
    process = start(folder)
    end_s = time.monotonic() + 240
    try:
        while store.unanalysed_events() and time.monotonic() < end_s:
            time.sleep(0.05)
        process.stdin.close()
        assert process.wait(240) == 0, (folder / "stderr").read_text()[-3000:]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert store.unanalysed_events() == []


def kill(process):
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def check(store, count):
    incidents = store.incidents(limit=1000)
    assert [incident.incident_id for incident in reversed(incidents)] == list(range(1, count + 1))
    findings = [one for incident in incidents for one in incident.findings]
    assert len(findings) == 2 * count
    assert len({one.finding_id for one in findings}) == 2 * count
    assert {incident.box_ids for incident in incidents} == {("1", "2")}
    assert sorted(event_id for incident in incidents for event_id in incident.event_ids) == list(
        range(1, count + 1)
    )


@pytest.mark.parametrize("mode", ["analysing", "marking"])
def test_a_killed_event_is_completed_at_start(tmp_path, mode):
    """The kill falls within one event."""
    store = open_store(None, tmp_path)
    put_events(store, 1)
    process = start(tmp_path, mode)
    assert process.stdout.readline() == b"here\n"
    kill(process)
    assert len(store.unanalysed_events()) == 1
    assert len(store.incidents()) == (1 if mode == "marking" else 0)
    finish(tmp_path, store)
    check(store, 1)
    store.close()


def test_kills_at_random_moments_lose_and_double_nothing(tmp_path):
    store = open_store(None, tmp_path)
    count = 60
    put_events(store, count)
    moments = random.Random(9354)
    killed_midway = 0
    for _ in range(4):
        left = len(store.unanalysed_events())
        process = start(tmp_path, "some")
        end_s = time.monotonic() + 240
        while len(store.unanalysed_events()) == left and left and time.monotonic() < end_s:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.05))
        kill(process)
        killed_midway += 0 < len(store.unanalysed_events()) < count
    assert killed_midway == 4
    finish(tmp_path, store)
    check(store, count)
    store.close()
