"""Keys that are exchanged while their Boxes send, and one that is revoked in a storm of handshakes."""

import socket
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq
from click.testing import CliRunner

from opq_cloud.core.backend.inflow import MessageLimits
from opq_cloud.core.service import ServiceCounters
from opq_cloud.makai.brokers import broker_peers
from opq_cloud.makai.triggering_broker import TriggeringBroker
from opq_proto.keys.backend_keys import BackendKeyFolder, backend_address
from opq_proto.keys.key_files import KeyPair, read_secret_file, write_public
from opq_proto.keys.register import KeyRegister
from opq_proto.wire.opqbox3_pb2 import Measurement
from opq_tools.keys import keys_command as key_command

ROTATED = 1000
STORM = 1500


def key_of(brokers: Any, box_id: str) -> str:
    entries, _ = KeyRegister(brokers.keys).entries()
    return next(entry.public_key for entry in entries if entry.box_id == box_id)


def test_the_old_key_holds_until_the_new_speaks(makai: Any) -> None:
    brokers = makai.brokers()
    register = KeyRegister(brokers.keys)
    with makai.running(brokers.triggering), makai.running(brokers.acquisition):
        old, other, client = makai.box(brokers, "1"), makai.box(brokers, "4"), makai.client(brokers)
        assert makai.arrives(old, client)
        assert makai.arrives(other, client)
        makai.wait_for(lambda: brokers.acquisition.counters.total("boxes_listening") >= 2)
        cut, stays = [makai.watch(each) for each in (old.pub, old.sub)], makai.watch(other.pub)
        register.rotate("1")
        new_pair = read_secret_file(brokers.keys.box_secret("1"))
        makai.wait_for(lambda: brokers.triggering.counters.total("admitted_now") == 4)
        assert makai.arrives(old, client, timestamp_ms=2), "until the new one speaks, the old one holds"
        assert [entry.state for entry in register.entries()[0]] == ["rotating", "admitted", "admitted"]
        new = makai.box(brokers, "1", new_pair)
        assert makai.arrives(new, client, timestamp_ms=3)
        for watched in cut:
            makai.wait_for(lambda watched=watched: makai.ends(watched))
        makai.wait_for(lambda: key_of(brokers, "1") == new_pair.public.decode())
        assert not makai.arrives(old, client, seconds=0.3, timestamp_ms=4)
        assert makai.arrives(new, client, timestamp_ms=5)
        assert (
            brokers.triggering.counters.of("rotations", "1")
            + brokers.acquisition.counters.of("rotations", "1")
            == 1
        )
        assert makai.ends(stays) == 0
        assert register.entries()[0][0].state == "admitted"


def test_a_subscription_shows_the_new_key(makai: Any) -> None:
    """A Box that only listens proves its key by its subscription."""
    brokers = makai.brokers()
    with makai.running(brokers.acquisition):
        KeyRegister(brokers.keys).rotate("1")
        new_pair = read_secret_file(brokers.keys.box_secret("1"))
        makai.wait_for(lambda: brokers.acquisition.counters.total("admitted_now") == 4)
        box = makai.box(brokers, "1", new_pair)
        makai.wait_for(lambda: key_of(brokers, "1") == new_pair.public.decode())
        makai.client(brokers).ask("1", "who")
        assert box.command() is not None


def test_a_running_handshake_is_not_ended(makai: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its subscription, and with it its commands, would be lost until the Box's program uses the
    socket again."""
    brokers = makai.brokers()
    admitted, on_its_way = threading.Event(), threading.Event()
    end_refused = broker_peers.Peers.end_refused

    def meanwhile(self: broker_peers.Peers) -> None:
        if not admitted.is_set():  # once: of the socket of commands, at which the Box arrives in this moment
            admitted.set()
            makai.wait_for(lambda: self.drain() or self.in_handshake("127.0.0.1"))
            on_its_way.set()
        end_refused(self)

    with makai.running(brokers.acquisition):
        makai.wait_for(lambda: brokers.acquisition.counters.total("admitted_now") == 3)
        monkeypatch.setattr(broker_peers.Peers, "end_refused", meanwhile)
        KeyRegister(brokers.keys).rotate("1")
        assert admitted.wait(240)
        box = makai.box(brokers, "4")
        watched = makai.watch(box.sub)
        assert on_its_way.wait(240)
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "4"))
        assert makai.ends(watched) == 0
        makai.client(brokers).ask("4", "who")
        assert box.command() is not None


def test_a_stranger_is_admitted_with_its_key(makai: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of several simultaneous handshakes were refused stays unknown, however many there are."""
    monkeypatch.setattr(broker_peers, "HANDSHAKES_EXAMINED", 0)
    brokers = makai.brokers()
    pairs = {str(k): makai.generate() for k in range(20, 24)}
    with makai.running(brokers.triggering):
        boxes = {box_id: makai.box(brokers, box_id, pair) for box_id, pair in pairs.items()}
        client = makai.client(brokers)
        makai.wait_for(lambda: brokers.triggering.connections() == {"unknown": len(pairs)})
        register = KeyRegister(brokers.keys)
        for box_id, pair in pairs.items():
            register.add(box_id, pair.public)
        for box in boxes.values():
            assert makai.arrives(box, client)


def test_an_unwritable_exchange_keeps_the_new_key(makai: Any) -> None:
    """It reports that the file was not written."""
    brokers = makai.brokers()
    KeyRegister(brokers.keys).rotate("1")
    brokers.keys.box_public("1").unlink()
    brokers.keys.box_public("1").mkdir()  # nothing can be moved there, not even by root
    with makai.running(brokers.triggering):
        client = makai.client(brokers)
        new = makai.box(brokers, "1", read_secret_file(brokers.keys.box_secret("1")))
        assert makai.arrives(new, client)
        makai.wait_for(lambda: brokers.triggering.counters.of("rotations_failed", "1"))
        assert makai.arrives(new, client, timestamp_ms=2)


def test_second_key_does_not_return_a_revoked_box(makai: Any) -> None:
    brokers = makai.brokers()
    register = KeyRegister(brokers.keys)
    with makai.running(brokers.triggering):
        client = makai.client(brokers)
        register.rotate("1")
        pair = read_secret_file(brokers.keys.box_secret("1"))
        makai.wait_for(lambda: brokers.triggering.counters.total("admitted_now") == 4)
        assert register.revoke("1")
        makai.wait_for(lambda: brokers.triggering.counters.total("admitted_now") == 2)
        assert not makai.arrives(makai.box(brokers, "1", pair), client, seconds=0.4)
        assert not brokers.keys.box_public("1").exists()


def test_who_is_connected_is_counted_by_box(makai: Any) -> None:
    brokers = makai.brokers()
    with makai.running(brokers.triggering):
        box, client = makai.box(brokers, "10"), makai.client(brokers)
        assert makai.arrives(box, client)
        makai.wait_for(lambda: brokers.triggering.connections() == {"10": 1})
        stranger = makai.box(brokers, "4", makai.generate())
        makai.wait_for(lambda: brokers.triggering.connections() == {"10": 1, "refused": 1})
        stranger.close()
        makai.wait_for(lambda: brokers.triggering.connections() == {"10": 1})
    assert brokers.triggering.connections() == {}


def storm(makai: Any, brokers: Any, pairs: dict[str, KeyPair], address: str) -> dict[str, Any]:
    """Boxes that connect at once to 8196 from one address and send nothing."""
    server, peer = KeyPair(brokers.server.public), makai.peer()
    peer.context.set(zmq.MAX_SOCKETS, 8 * len(pairs) + 100)
    host = brokers.acquisition_config.response_endpoint.removeprefix("tcp://")
    endpoint = f"tcp://{address}:0;{host}"
    return {box_id: peer.connect(zmq.PUSH, endpoint, pair, server) for box_id, pair in pairs.items()}


def test_a_silent_box_among_many_is_cut(makai: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handshake was one beyond those that are examined."""
    monkeypatch.setattr(
        broker_peers, "HANDSHAKES_EXAMINED", 0
    )  # as with hundreds at once: no handshake is looked at
    brokers = makai.brokers()
    ids = [str(k) for k in range(20, 32)]
    brokers.keys.create(False, ids)
    with makai.running(brokers.acquisition):
        pairs = {each: brokers.pair(each) for each in ids}
        opened = storm(makai, brokers, {each: pairs[each] for each in ids[:1]}, "127.0.0.2")
        opened |= storm(makai, brokers, {each: pairs[each] for each in ids[1:]}, "127.0.0.3")
        watched = {box_id: makai.watch(each) for box_id, each in opened.items()}
        counters = brokers.acquisition.counters
        makai.wait_for(lambda: counters.total("handshakes") >= len(ids))
        makai.wait_for(lambda: counters.total("connections_now") >= len(ids))
        assert brokers.acquisition.connections() == {"unknown": len(ids)}, "no connection is known"
        KeyRegister(brokers.keys).revoke(ids[0])
        makai.wait_for(lambda: makai.ends(watched[ids[0]]))
        assert [makai.ends(watched[each]) for each in ids[1:]] == [0] * (len(ids) - 1)


def test_one_turn_examines_only_some_of_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    examined: list[int] = []
    monkeypatch.setattr(broker_peers, "EXAMINED_AT_ONCE", 2)
    monkeypatch.setattr(broker_peers, "bytes_sent", lambda number: examined.append(number) or 1000)
    with zmq.Context() as context, ExitStack() as opened:
        watched = opened.enter_context(context.socket(zmq.PULL))
        port = watched.bind_to_random_port("tcp://127.0.0.1")
        found = broker_peers.Peers(context, watched, "many", ServiceCounters(), MessageLimits(2**20, 16), 0)
        opened.callback(found.close)
        for _ in range(5):
            opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        while len(found.unknown) < 5:
            found.drain()
        assert found.admitted_connection("127.0.0.1") is None, "it is unclear which one it is"
        for done in (2, 4, 5):
            found.remove_finished()
            assert len(examined) == len(found.unplaced) == done
        assert not found.unknown


def test_a_box_with_its_own_address_is_known(makai: Any) -> None:
    """However many other handshakes run."""
    brokers = makai.brokers()
    host, port = brokers.acquisition_config.response_endpoint.removeprefix("tcp://").split(":")
    with makai.running(brokers.acquisition), ExitStack() as opened:
        for _ in range(broker_peers.HANDSHAKES_EXAMINED + 1):
            opened.enter_context(socket.create_connection((host, int(port)), source_address=("127.0.0.3", 0)))
        known = brokers.acquisition.connections
        makai.wait_for(lambda: known() == {"unknown": broker_peers.HANDSHAKES_EXAMINED + 1})
        opened.callback(storm(makai, brokers, {"1": brokers.pair("1")}, "127.0.0.2")["1"].close)
        assert makai.wait_for(lambda: known() == {"unknown": broker_peers.HANDSHAKES_EXAMINED + 1, "1": 1})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_silent_box_is_cut_in_a_storm(makai: Any) -> None:
    """1,500 Boxes connect at once, from another address; one that came among them is revoked meanwhile."""
    brokers = makai.brokers()
    pairs = {str(k): makai.generate() for k in range(100, 100 + STORM)}
    brokers.keys.public_keys.mkdir(exist_ok=True)
    for box_id, pair in pairs.items():
        write_public(brokers.keys.box_public(box_id), KeyPair(pair.public), box_id)
    with makai.running(brokers.acquisition):
        counters = brokers.acquisition.counters
        makai.wait_for(lambda: counters.total("admitted_now") >= STORM)
        first = dict(list(pairs.items())[: STORM // 2])
        others = storm(makai, brokers, first, "127.0.0.3")
        gone = storm(makai, brokers, {"1": brokers.pair("1")}, "127.0.0.2")["1"]
        watched = makai.watch(gone)
        others |= storm(makai, brokers, dict(list(pairs.items())[STORM // 2 :]), "127.0.0.4")
        makai.wait_for(lambda: counters.total("handshakes") >= STORM // 2 + 50, 120)
        KeyRegister(brokers.keys).revoke("1")
        began_s = time.monotonic()
        makai.wait_for(lambda: makai.ends(watched), 30)
        took_s = time.monotonic() - began_s
        print(f"cut after {took_s:.3f} s, {counters.total('handshakes'):.0f} of {STORM + 1} handshakes done")
        makai.wait_for(lambda: counters.total("handshakes") >= STORM, 120)
        assert took_s < 1.0
    assert len(others) == STORM


def lost_in_rotations(makai: Any, count: int) -> dict[str, set[int]]:
    """Exchanges `count` keys while each Box sends; returns the numbers that did not arrive, by Box.

    No other Box may notice. A gateway sends with its old key until the new one is through.
    """
    brokers = makai.brokers()
    ids = [str(k) for k in range(100, 100 + count)]
    brokers.keys.create(False, [*ids, "77"])
    register = KeyRegister(brokers.keys)
    seen: dict[str, set[int]] = {box_id: set() for box_id in [*ids, "77"]}
    stop = threading.Event()
    with makai.running(brokers.triggering):
        client = makai.client(brokers)
        boxes = {box_id: makai.box(brokers, box_id) for box_id in seen}
        for box_id, box in boxes.items():
            assert makai.arrives(box, client, timestamp_ms=1), box_id
        bystander = makai.watch(boxes["77"].pub)
        sent = dict.fromkeys(seen, 0)

        def read() -> None:
            while not stop.is_set() or client.measurements.poll(500):
                if client.measurements.poll(20):
                    body = Measurement.FromString(client.measurements.recv_multipart()[1])
                    seen[str(body.box_id)].add(body.timestamp_ms)

        def send(box_id: str) -> None:
            sent[box_id] += 1
            boxes[box_id].pub.send_multipart(boxes[box_id].measurement(timestamp_ms=1000 + sent[box_id]))

        def exchanged(box_id: str, before: Any) -> bool:
            send(box_id)  # a PUB that is not connected yet drops: so the one with the old key sends it too
            before.pub.send_multipart(boxes[box_id].measurement(timestamp_ms=1000 + sent[box_id]))
            return bool(brokers.triggering.counters.of("rotations", box_id))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for box_id in ids:
                register.rotate(box_id)
            makai.wait_for(lambda: brokers.triggering.counters.total("admitted_now") >= 2 * count + 4, 60)
            for box_id in ids:
                for other in (box_id, "77"):
                    send(other)
                fresh = makai.box(brokers, box_id, read_secret_file(brokers.keys.box_secret(box_id)))
                makai.wait_for(lambda box_id=box_id: 1000 + sent[box_id] in seen[box_id])
                before, boxes[box_id] = boxes[box_id], fresh
                makai.wait_for(lambda box_id=box_id, before=before: exchanged(box_id, before))
                send(box_id)
                makai.wait_for(lambda box_id=box_id: 1000 + sent[box_id] in seen[box_id])
                before.close()
        finally:
            stop.set()
            reader.join()
        assert makai.ends(bystander) == 0
        assert all(entry.state == "admitted" for entry in register.entries()[0])
    missing = {box_id: set(range(1001, 1001 + sent[box_id])) - seen[box_id] for box_id in seen}
    return {box_id: lost for box_id, lost in missing.items() if lost}


def test_successive_key_exchanges_lose_nothing(makai: Any) -> None:
    assert lost_in_rotations(makai, 5) == {}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_exchanges_under_load_lose_nothing(makai: Any) -> None:
    assert lost_in_rotations(makai, ROTATED) == {}


def test_the_servers_pair_is_replaced_between_two_runs(makai: Any, tmp_path: Path) -> None:
    """A Box or service with the old server key is refused until it starts with the new one."""
    brokers = makai.brokers()
    own = BackendKeyFolder(tmp_path / "backend")
    own.create(True, ["cloud"])
    address = f"{brokers.triggering_config.backend_endpoint}?curve={own.root}&name=cloud"
    made = replace(brokers.triggering_config, backend_endpoint=address)
    old = makai.box(brokers, "1")
    with zmq.Context() as context, ExitStack() as opened:

        def subscriber() -> Any:
            socket = opened.enter_context(closing(context.socket(zmq.SUB)))
            socket.linger = 0
            socket.subscribe(b"")
            backend_address(address).connect(socket)
            return socket

        def heard(by: Any, box: Any, number: int = 1) -> bool:
            frames = box.measurement(timestamp_ms=number)
            box.pub.send_multipart(frames)
            return bool(by.poll(20)) and by.recv_multipart() == frames

        before = subscriber()
        with makai.running(TriggeringBroker(made, brokers.keys)):
            makai.wait_for(lambda: heard(before, old))
            for folder in (brokers.keys.root, own.root):
                which = ["--backend"] if folder == own.root else []
                asked = ["rotate", "--server", "--keys", str(folder), "--force", *which]
                assert CliRunner().invoke(key_command.command, asked).exit_code == 0
            makai.wait_for(lambda: heard(before, old))  # until a restart the old pair holds
        again = TriggeringBroker(made, brokers.keys)
        brokers.server = read_secret_file(brokers.keys.server_secret)
        with makai.running(again):
            box, after = makai.box(brokers, "1"), subscriber()  # both were started again
            while before.poll(0):
                before.recv_multipart()
            makai.wait_for(lambda: heard(after, box))
            makai.wait_for(lambda: again.counters.total("handshakes_failed"))
            makai.wait_for(lambda: again.counters.total("backend_handshakes_failed"))
            assert set(again.connections()) <= {"1", "unknown"}
            assert not heard(after, old, 2) and not before.poll(0)
