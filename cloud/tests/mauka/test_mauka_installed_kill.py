"""Kill -9 of Mauka while a version takes over: every event is analysed by an installed analysis, once."""

import subprocess
import sys
import threading
import time

import numpy as np
from plugin_zips import manifest, stored, zipped

from opq_cloud.store import open_store
from opq_plugins.host.plugins import Plugins
from opq_plugins.policy import Policy
from opq_proto.messages import TimeSource, Trigger, Waveform

MAUKA = """
import sys, threading
from pathlib import Path
from opq_cloud.mauka.running.installed.installed_analyses import InstalledAnalyses
from opq_cloud.mauka.plugin import PUB_KEY, SUB_KEY
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.store import open_store
from opq_proto.kit import log
from opq_plugins.host.running import RunningPlugin
from opq_plugins.policy import Policy
log.configure("mauka")
folder = Path(sys.argv[1])
store = open_store(None, folder)
exchange = RunningPlugin._exchange
def told(*arguments):
    print("exchange", flush=True)
    done = exchange(*arguments)
    print("exchanged", flush=True)
    return done
RunningPlugin._exchange = told
follower = InstalledAnalyses(folder / "rules", Policy(), {}, (), check_s=0.01)
unused = "tcp://127.0.0.1:9"  # no bus is needed
runner = AnalysisRunner({PUB_KEY: unused, SUB_KEY: unused}, lambda: store, [], installed=follower)
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
following = threading.Thread(target=follower.run, args=(stop,))
print("runs", flush=True)
following.start()
runner.run(stop)
following.join()
store.close()
"""
CODE = '''
"""Marks each Box, slowly enough for a version to come meanwhile."""
import time
from dataclasses import dataclass

from opq_proto.messages import Event, Finding

name = "marks"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config:
    pass


def analyse(event, config):
    time.sleep(0.01)
    return [Finding("mark", wave.box_id, wave.start_ns, wave.end_ns, 0) for wave in event.waveforms]
'''
START_NS = 1_700_000_000_000_000_000
EVENTS = 60


def put_events(store):
    counts = np.zeros(600, np.int16)
    for number in range(EVENTS):
        start_ns = START_NS + number * 60 * 10**9
        trigger = Trigger(f"token{number}", start_ns, start_ns + 10**9, ("1", "2"), "1", "test")
        event_id = store.open_event(trigger, "test")
        for box_id in ("1", "2"):
            wave = Waveform(box_id, start_ns, 1_000_000, TimeSource.NTP, 12_000_000, 0.0068, 0, counts)
            store.put_waveform(event_id, wave)
        store.finish_event(event_id)


def install(host, number):
    files = {
        "plugin.json": manifest("marks", f"1.0.{number}", kind="analysis", mode="inproc"),
        "analyses/marks.py": CODE,
    }
    host.create("analysis", "marks", stored(host.uploads, zipped(files)))


def start(folder):
    """Returns once its imports are over."""
    with (folder / "stderr").open("ab") as lines:
        process = subprocess.Popen(
            [sys.executable, "-c", MAUKA, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=lines,
            text=True,
        )
    assert process.stdout.readline() == "runs\n", (folder / "stderr").read_text()[-3000:]
    return process


def end(process):
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_kills_during_replacement_lose_nothing(tmp_path):
    """Nothing is doubled either."""
    store = open_store(None, tmp_path)
    host = Plugins(tmp_path / "rules", Policy(trusted=frozenset({"marks"})))
    install(host, 0)
    put_events(store)
    versions, ended = iter(range(1, 10_000)), threading.Event()

    def swap():
        while not ended.wait(0.3):
            install(host, next(versions))

    swapping = threading.Thread(target=swap)
    swapping.start()
    taken = 0
    try:
        for said in ("exchange\n", "exchanged\n"):
            process = start(tmp_path)
            try:
                left = len(store.unanalysed_events())
                until_s = time.monotonic() + 240
                while len(store.unanalysed_events()) > left - 5 and time.monotonic() < until_s:
                    time.sleep(0.005)
                while process.stdout.readline() != said:
                    assert process.poll() is None, (tmp_path / "stderr").read_text()[-2000:]
                taken += 1
            finally:
                end(process)
        ended.set()  # what is left needs no further version
        process = start(tmp_path)
        try:
            until_s = time.monotonic() + 240
            while store.unanalysed_events() and time.monotonic() < until_s:
                time.sleep(0.05)
            process.stdin.close()
            process.stdout.read()
            assert process.wait(240) == 0, (tmp_path / "stderr").read_text()[-2000:]
        finally:
            end(process)
    finally:
        ended.set()
        swapping.join()
        host.close()
    assert taken == 2
    assert store.unanalysed_events() == []
    incidents = store.incidents(limit=1000)
    found = sorted(
        (incident.event_ids, one.finding.box_id) for incident in incidents for one in incident.findings
    )
    assert found == [((event,), box) for event in range(1, EVENTS + 1) for box in ("1", "2")]
    store.close()
