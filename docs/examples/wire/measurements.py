"""Prints the Measurements of a running system: python measurements.py ipc://D/sockets/measurements

Needs pyzmq, protobuf and the messages: protoc --python_out=. opqbox3.proto
"""

import sys

import opqbox3_pb2
import zmq

inbox = zmq.Context().socket(zmq.SUB)
inbox.connect(sys.argv[1])  # or tcp://127.0.0.1:9881, where the configuration has such an address
inbox.subscribe(b"")  # b"0001": Box 1 only, and 00010 to 00019 too, because a topic is a prefix

while True:
    topic, body = inbox.recv_multipart()
    measurement = opqbox3_pb2.Measurement.FromString(body)
    if not measurement.metrics:
        continue  # fields 1010, 1011 and 1014: an interval, a disturbance, or lost ones
    # A key of `metrics` is absent when the value is unknown; `metrics["rms"]` would make it, with zeros.
    rms = f"{measurement.metrics['rms'].average:.2f} V" if "rms" in measurement.metrics else "unknown"
    print(f"Box {measurement.box_id}: {rms} until {measurement.timestamp_ms}", flush=True)
