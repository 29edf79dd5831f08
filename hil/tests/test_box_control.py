"""The socket by which Boxes are disturbed: wrong requests and silent peers leave it usable."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from opq_proto.errors import OpqError
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost
from opq_sim.box.control import CONNECTIONS, NAME, request_control, serve


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as peer:
        return peer.connect_ex(str(path)) == 0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of a running Box 1."""
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(BoxHost([Box("1")]), tmp_path, stop))
    thread.start()
    try:
        while not listens(tmp_path / NAME):
            assert thread.is_alive()
        yield tmp_path
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1e999", "-1e999", "NaN", "1e308"])
@pytest.mark.parametrize("key", ["cycles", "depth", "seconds"])
def test_a_number_beyond_all_sense_is_refused(folder: Path, key: str, number: str) -> None:
    kind = "supply_lost" if key == "seconds" else "sag"
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(60)
        peer.connect(str(folder / NAME))
        peer.sendall(f'{{"do": "event", "box": "1", "kind": "{kind}", "{key}": {number}}}\n'.encode())
        answer = json.loads(peer.makefile("rb").readline())
    assert not answer["ok"] and answer["error"]
    assert request_control(folder, {"do": "list"})["ok"]


def test_silent_peers_keep_no_one_out(folder: Path) -> None:
    silent = []
    try:
        for _ in range(3 * CONNECTIONS):
            silent.append(socket.socket(socket.AF_UNIX))
            silent[-1].connect(str(folder / NAME))
        assert request_control(folder, {"do": "list"})["ok"]
        with pytest.raises(OpqError, match="do is 'x'"):
            request_control(folder, {"do": "x"})
    finally:
        for peer in silent:
            peer.close()
