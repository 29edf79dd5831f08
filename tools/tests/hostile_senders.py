"""One process of hostile peers: `python hostile_senders.py ORDER`, as JSON; it prints what it sent.

ORDER: "addresses" [[kind, address]], "frames" and "connections" for each of them, "seed", "held" (connections
that stay open meanwhile), "curve" (the folder of keys, and the Box whose key signs mutated messages: null, or
[folder, Box, [[name of a socket, port]]]).
"""

import collections
import json
import random
import socket
import struct
import sys
import time
from contextlib import suppress

import zmq
from hostile_frames import KINDS, Burst, greeting, messages, mutated, zmtp_frame

from opq_proto.keys.key_files import KeyFolder, generate, read_key_file, read_secret_file

FRAMES_A_CONNECTION = 64
BURSTS_A_KIND = 100
"""Bursts of mutated frames, made beforehand: to mutate each frame as it is sent takes fifty times as long."""
FAULTS = 6
"""Further faults of a burst each time that it is sent, so that no two are the same."""
BODIES = 1_000
"""Mutated messages of an admitted key that are made beforehand; each gets FAULTS when it is sent."""
OPEN_FRAMES = 24
"""Connections with frames that stay open while further ones are made."""
RESET = struct.pack("ii", 1, 0)
WAIT_S = 5.0


def connected(kind: str, address: str) -> socket.socket:
    if kind == "unix":
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(WAIT_S)
        found.connect(address if not address.startswith("@") else "\0" + address[1:])
        return found
    if kind == "udp":
        found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        found.connect(("127.0.0.1", int(address)))
        return found
    return socket.create_connection(("127.0.0.1", int(address)), WAIT_S)


def bursts_for(rng: random.Random, count: int) -> list[Burst]:
    """Returns bursts of all kinds, in turn."""
    each = min(BURSTS_A_KIND, 1 + count // (FRAMES_A_CONNECTION * len(KINDS)))
    return [kind(rng, FRAMES_A_CONNECTION) for _ in range(each) for kind in KINDS]


def with_faults(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(FAULTS):
        changed[rng.randrange(len(changed))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(changed)


def send_frames(
    rng: random.Random, kind: str, address: str, count: int, bursts: list[Burst]
) -> tuple[int, int]:
    """Frames that the kernel took, and connections that it refused."""
    sent = refused = 0
    opened: collections.deque[socket.socket] = collections.deque()
    while sent < count and refused < 1_000:
        begin, frames = rng.choice(bursts)
        frames = frames[: count - sent]
        try:
            line = connected(kind, address)
        except OSError:
            refused += 1
            time.sleep(0.01)
            continue
        opened.append(line)
        line.settimeout(WAIT_S)
        with suppress(OSError):
            if kind == "udp":
                for frame in frames:
                    line.send(with_faults(rng, frame or b"\0"))
            else:
                line.sendall(begin + with_faults(rng, b"".join(frames)))
            sent += len(frames)
            if rng.random() < 0.5:
                line.shutdown(socket.SHUT_WR)
        line.setblocking(False)
        if len(opened) > OPEN_FRAMES:
            end(opened.popleft())
    while opened:
        end(opened.popleft())
    return sent, refused


def end(line: socket.socket, reset: bool = False) -> None:
    with suppress(OSError):
        while not reset and line.recv(1 << 16):
            pass
    if reset:
        with suppress(OSError):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    line.close()


def connect_hostile(rng: random.Random, kind: str, address: str, count: int, held: int) -> tuple[int, int]:
    """Connections that are silent, half open, slow, full or reset; and how many were refused."""
    made = refused = 0
    opened: collections.deque[socket.socket] = collections.deque()
    flood = greeting(b"NULL") + zmtp_frame(b"\x05READY", 4) + zmtp_frame(bytes(200), 1) * 300
    while made < count and refused < 1_000:
        try:
            line = connected(kind, address)
        except OSError:
            refused += 1
            time.sleep(0.01)
            continue
        made += 1
        line.setblocking(False)
        with suppress(OSError):
            match made % 6:
                case 0:
                    line.send(greeting(b"CURVE")[: rng.randrange(1, 64)])
                case 1:
                    line.shutdown(socket.SHUT_WR)
                case 2:
                    line.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
                case 3:
                    line.send(flood)
                case 4:
                    line.send(mutated(rng, greeting(b"NULL")))
        opened.append(line)
        if made % 8 == 0:  # slow: one more byte of an earlier connection
            with suppress(OSError):
                opened[rng.randrange(len(opened))].send(b"a")
        if len(opened) > held:
            end(opened.popleft(), reset=rng.random() < 0.5)
    for line in opened:
        end(line, reset=rng.random() < 0.5)
    return made, refused


def send_by_key(rng: random.Random, folder: str, box_id: str, kind: str, port: int, count: int) -> int:
    """Messages of an admitted Box, mutated; between them handshakes with keys that are not admitted."""
    keys = KeyFolder(folder)
    server = read_key_file(keys.server_public).public
    admitted = read_secret_file(keys.box_secret(box_id))
    bodies = [mutated(rng, messages(rng)) for _ in range(BODIES)]
    sent = 0
    with zmq.Context() as context:
        while sent < count:
            for pair in (generate(), admitted):
                line = context.socket(getattr(zmq, kind))
                pair.secure(line, server)
                line.setsockopt(zmq.LINGER, 2_000 if pair is admitted else 0)
                line.setsockopt(zmq.SNDTIMEO, 2_000 if pair is admitted else 0)
                line.connect(f"tcp://127.0.0.1:{port}")
                time.sleep(0.1)  # the handshake; a socket that publishes drops what comes before
                for _ in range(min(1_000, count) if pair is admitted else 5):
                    topic = rng.choice((box_id.encode(), b"1", b"", b"data", mutated(rng, box_id.encode())))
                    parts = [topic, with_faults(rng, rng.choice(bodies)), *([b"x"] * rng.randrange(3))]
                    with suppress(zmq.Again):
                        line.send_multipart(parts)
                        sent += len(parts)
                line.close()
    return sent


def main() -> None:
    order = json.loads(sys.argv[1])
    answers = {}
    bursts = bursts_for(random.Random(order["seed"]), order["frames"])
    for kind, address in order["addresses"]:
        rng = random.Random(f"{order['seed']} {address}")
        began = time.monotonic()
        frames, refused = send_frames(rng, kind, address, order["frames"], bursts)
        taken = time.monotonic() - began
        made, also = connect_hostile(rng, kind, address, order["connections"], order["held"])
        answers[f"{kind} {address}"] = [
            frames,
            made,
            refused + also,
            round(taken, 1),
            round(time.monotonic() - began - taken, 1),
        ]
        print(f"{kind} {address}: {answers[f'{kind} {address}']}", file=sys.stderr, flush=True)
    if order["curve"]:
        folder, box_id, sockets = order["curve"]
        for kind, port in sockets:
            rng = random.Random(f"{order['seed']} {port}")
            sent = send_by_key(rng, folder, box_id, kind, port, order["frames"])
            answers[f"{kind} {port} by key"] = [sent, 0, 0]
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
