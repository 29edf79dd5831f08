"""Boxes that send a Measurement a second each, as the broker passes them on, in a process of their own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.own_processes import end_process

FEED = """
import math, sys, time, zmq
from opq_proto.wire.opqbox3_pb2 import Measurement
from opq_proto.wire.frames import topic
boxes, slices = int(sys.argv[2]), 10
socket = zmq.Context().socket(zmq.PUB)
socket.sndhwm = 4 * boxes + 1000
try:
    socket.bind(sys.argv[1])
except zmq.ZMQError as error:
    sys.exit(f"{sys.argv[1]}: {error}")
print("bound", flush=True)
messages = []
for box in range(1, boxes + 1):
    one = Measurement(box_id=box, uncertainty_ns=1000, time_source=1, sequence=1000, oldest_sequence=1)
    for key, value in (("f", 60.0), ("rms", 120.0), ("thd", 0.025), ("trans", 1.5)):
        metric = one.metrics[key]
        metric.min, metric.max, metric.average = value * 0.999, value * 1.001, value
    messages.append((topic(str(box)), one, one.metrics["rms"], one.metrics["f"]))
second, next_s = 0, time.monotonic()
while True:
    second += 1
    for part in range(slices):
        now_ns = time.time_ns()
        for place in range(part, boxes, slices):
            name, one, rms, f = messages[place]
            one.timestamp_ms, one.start_ns, one.end_ns = now_ns // 10**6, now_ns - 10**9, now_ns
            one.sequence = 1000 + second
            rms.average = 120.0 + 2.0 * math.sin(0.37 * second + place)
            f.average = 60.0 + 0.02 * math.sin(0.11 * second)
            socket.send_multipart((name, one.SerializeToString()))
        next_s += 1.0 / slices
        time.sleep(max(0.0, next_s - time.monotonic()))
"""


@contextmanager
def feeding_boxes(endpoint: str, boxes: int) -> Iterator[None]:
    """Runs `boxes` Boxes, numbered from 1; a tenth sends each 100 ms, and values change every second.

    Raises:
        RuntimeError: it cannot bind its endpoint, or it ended too early.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", FEED, endpoint, str(boxes)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        if process.stdout.readline() != b"bound\n":
            why = process.stderr.read().decode().strip()
            raise RuntimeError(f"no Box sends: the feed cannot have its port: {why}")
        yield
        if process.poll() is not None:
            why = process.stderr.read().decode().strip()
            raise RuntimeError(f"no Box sends any more: the feed ended by itself: {why}")
    finally:
        end_process(process)
        process.stdout.close()
        process.stderr.close()
