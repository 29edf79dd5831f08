"""The baseline: receives by CURVE, decodes one protobuf, sends by PUB; reports its cost at its end.

    python -m bench.harness.bare_forwarder CURVE_FOLDER IN OUT

It refuses no key, and counts and limits nothing: no broker in Python can cost less. It is a process of its
own, separate from the load, so that its CPU can be measured.
"""

import json
import sys
import time
from pathlib import Path

import zmq

from opq_proto.keys.key_files import KeyFolder, read_secret_file
from opq_proto.wire.opqbox3_pb2 import Measurement

WAIT_MS = 100


def main() -> None:
    """Forwards until stdin ends; then prints messages and CPU seconds since the last line on stdin."""
    curve, source, sink = sys.argv[1:]
    pair = read_secret_file(KeyFolder(Path(curve)).server_secret)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    received, sent = context.socket(zmq.SUB), context.socket(zmq.PUB)
    received.curve_server, received.curve_publickey = 1, pair.public
    received.curve_secretkey = pair.secret or b""
    received.subscribe(b"")
    received.bind(source)
    sent.bind(sink)
    poller = zmq.Poller()
    poller.register(received, zmq.POLLIN)
    poller.register(sys.stdin, zmq.POLLIN)
    print("{}", flush=True)
    count, began_s = 0, time.process_time()
    while True:
        ready = dict(poller.poll(WAIT_MS))
        for _ in range(1000 if received in ready else 0):
            try:
                frames = received.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            Measurement.FromString(frames[1])
            sent.send_multipart(frames)
            count += 1
        if sys.stdin.fileno() in ready:
            if not sys.stdin.readline():
                break
            print(json.dumps({"messages": count, "cpu_s": time.process_time() - began_s}), flush=True)
            count, began_s = 0, time.process_time()
    context.destroy(linger=0)


if __name__ == "__main__":
    main()
