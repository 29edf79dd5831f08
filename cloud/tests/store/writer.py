"""A process of its own that writes to a store, for the tests of several writers and of kills.

It is forked for each request from one that has all modules loaded: imports are most of what a process costs.
It prints one line per thing that was acknowledged, and `closed` last.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import CloudStore
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_proto.messages import Finding, Measurement, Metric, TimeSource, Trigger, Waveform

START_MS = 1_765_792_486_000
SECOND_NS = 10**9


def measurement(box_id: str, sequence: int) -> Measurement:
    """The same for the same arguments, in every process."""
    timestamp_ms = START_MS + 1000 * sequence
    rms_v = float(np.float32(120 + sequence % 7))
    return Measurement(
        box_id,
        timestamp_ms,
        {"rms": Metric(rms_v - 1, rms_v + 1, rms_v), "f": Metric(59.5, 60.5, 60.0)},
        timestamp_ms * 1_000_000 - SECOND_NS,
        timestamp_ms * 1_000_000,
        1000,
        TimeSource.NTP,
        sequence,
        0,
    )


def waveform(item: int, box_id: str) -> Waveform:
    counts = (np.arange(2400) * (item + 1) % 30_000).astype(np.int16)
    return Waveform(box_id, item_ns(item), 1000, TimeSource.NTP, 12_000_000, 0.02, 0, counts)


def item_ns(item: int) -> int:
    return START_MS * 1_000_000 + item * 60 * SECOND_NS


def trigger(item: int) -> Trigger:
    return Trigger(f"token{item}", item_ns(item), item_ns(item) + SECOND_NS, ("1", "2"), "1", "test")


def findings(item: int) -> list[Finding]:
    """One sag at two Boxes, 100 ms apart in their clocks."""
    start_ns = item_ns(item)
    return [
        Finding("sag", box_id, begin_ns, begin_ns + SECOND_NS // 10, 1000, residual_percent=70.0)
        for box_id, begin_ns in (("1", start_ns), ("2", start_ns + SECOND_NS // 10))
    ]


def work_item(store: CloudStore, item: int, length: int) -> None:
    """What a Box's disturbance leaves behind; repeatable as a whole."""
    store.append_measurements([measurement("1", item * length + k) for k in range(length)])
    event_id = store.open_event(trigger(item), "test")
    for box_id in ("1", "2"):
        store.put_waveform(event_id, waveform(item, box_id))
    store.finish_event(event_id)
    put_findings(store, event_id, findings(item))
    store.mark_analysed(event_id)


def everything(store: CloudStore, spec: dict[str, Any]) -> None:
    for item in range(spec["items"]):
        work_item(store, item, spec["rows"])
        print(item, flush=True)


def ids(store: CloudStore, spec: dict[str, Any]) -> None:
    """Ids, tokens and finishes, at the same time as others: prints what this process got."""
    numbers, tokens, finished = [], {}, 0
    for item in range(spec["items"]):
        numbers.append(store.next_event_id())
        tokens[item] = store.open_event(trigger(item), "test")
        finished += store.finish_event(tokens[item])
    print(json.dumps({"ids": numbers, "tokens": tokens, "finished": finished}), flush=True)


def rows(store: CloudStore, spec: dict[str, Any]) -> None:
    """The same measurements as the others: prints how many were new."""
    new = 0
    for item in range(spec["items"]):
        batch = [measurement(box_id, item * 10 + k) for k in range(10) for box_id in ("1", "2", "3")]
        new += store.append_measurements(batch)
    print(new, flush=True)


def waves(store: CloudStore, spec: dict[str, Any]) -> None:
    """The same waveforms as the others: prints how many were new."""
    events = [store.open_event(trigger(item), "test") for item in range(spec["items"])]
    print(
        sum(store.put_waveform(event, waveform(item, "1")) for item, event in enumerate(events)), flush=True
    )


def incidents(store: CloudStore, spec: dict[str, Any]) -> None:
    """The same findings as the others."""
    for item in range(spec["items"]):
        put_findings(store, item + 1, findings(item))


def main(task: str, spec: dict[str, Any]) -> None:
    if spec["kind"] == "embedded":
        store: CloudStore = EmbeddedStore(Path(spec["where"]), seal_rows=spec.get("seal_rows", 64))
    else:
        store = MongoStore(spec["where"])
    print("open", flush=True)
    tasks = {"everything": everything, "ids": ids, "rows": rows, "waves": waves, "incidents": incidents}
    tasks[task](store, spec)
    store.close()
    print("closed", flush=True)


def serve(channel: socket.socket) -> None:
    """Answer each request, JSON [task, spec] and where to print, with the id of a new process."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended children need no wait
    while True:
        request, descriptors, _, _ = socket.recv_fds(channel, 65_536, 1)
        if not request:
            return
        pid = os.fork()
        if not pid:
            channel.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(descriptors[0], 1)
            os.close(descriptors[0])
            main(*json.loads(request))
            return
        os.close(descriptors[0])
        channel.send(str(pid).encode())


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
