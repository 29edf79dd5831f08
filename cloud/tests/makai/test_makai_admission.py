"""Who gets through the CURVE sockets: only Boxes on the list, each under its own id."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import structlog
import zmq
from waiting import wait_for

from opq_cloud.core.backend import allow_list
from opq_cloud.core.backend.allow_list import AllowList, FileStamp
from opq_cloud.core.service import ServiceCounters
from opq_cloud.makai.brokers import broker_peers
from opq_gateway.uplink import connection
from opq_gateway.uplink.connection import Endpoints, Timing, UplinkConnection, UplinkPlace
from opq_proto.keys.key_files import KeyFolder, KeyPair, generate, write_public
from opq_proto.keys.register import KeyRegister
from opq_proto.kit import log

PATIENT_S = 20.0
"""For a READY on a slow machine: after 20 ms several handshakes at once would not be told apart."""


def test_an_admitted_box_is_relayed_byte_for_byte(makai: Any) -> None:
    brokers = makai.brokers()
    with makai.running(brokers.triggering):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        assert makai.arrives(box, client)


def test_an_unlisted_key_is_refused_counted_and_logged(makai: Any) -> None:
    """A key that is not listed gets nothing through and is counted and logged."""
    brokers = makai.brokers()
    stranger_pair = makai.generate()
    key = stranger_pair.public.decode()
    began_s = time.monotonic()
    with (
        structlog.testing.capture_logs() as lines,
        makai.running(brokers.triggering),
        makai.running(brokers.acquisition),
    ):
        client = makai.client(brokers)
        good, stranger = makai.box(brokers, "1"), makai.box(brokers, "4", stranger_pair)
        assert makai.arrives(good, client)
        assert not makai.arrives(stranger, client, seconds=0.5)
        client.ask("4", "data_x_y")
        assert stranger.command(timeout_ms=500) is None
        makai.wait_for(lambda: brokers.triggering.counters.of("refused", key) >= 1)
        makai.wait_for(lambda: brokers.acquisition.counters.of("refused", key) >= 2)
    refused = [line for line in lines if line["event"] == "peer.refused"]
    assert {line["public_key"] for line in refused} == {key}
    periods = 1 + (time.monotonic() - began_s) // 10
    assert 2 <= len(refused) <= 2 * periods, "one line per broker in 10 s, not one per connection"


def test_both_sides_name_a_revoked_box_that_comes(makai: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker notes whose key it is and from where; the gateway's uplink sees that it is left out."""
    monkeypatch.setattr(connection, "NOT_ADMITTED_S", 0.5)
    brokers = makai.brokers()
    pair = brokers.pair("4")
    with makai.running(brokers.triggering), makai.running(brokers.acquisition):
        assert brokers.triggering.health() == []
        assert KeyRegister(brokers.triggering._keys).revoke("4")
        makai.wait_for(lambda: "4" not in brokers.triggering._zap.admitted)
        triggering, acquisition = brokers.triggering_config, brokers.acquisition_config
        endpoints = Endpoints(
            triggering.box_endpoint, acquisition.command_endpoint, acquisition.response_endpoint
        )
        place = UplinkPlace(endpoints, brokers.server.public)
        with zmq.Context() as context:
            uplink = UplinkConnection(context, "4", pair, place, 10, Timing())
            try:

                def left_out() -> bool:
                    uplink.service(lambda _: None, lambda: None)
                    return uplink.is_left_out(time.monotonic())

                wait_for(left_out)
                assert not uplink.stands
            finally:
                uplink.close()
        (note,) = brokers.triggering.health()
        assert note.ok and note.note.startswith("Box 4 comes from 127.0.0.1 with its revoked key"), note
        stranger = makai.box(brokers, "7", makai.generate())
        wait_for(lambda: len(brokers.triggering.health()) == 2)
        assert brokers.triggering.health()[1].note.startswith("a key that is not admitted here came"), (
            stranger
        )


def test_a_throw_away_key_is_refused(makai: Any) -> None:
    """An original Box without a configuration uses such a key."""
    brokers = makai.brokers()
    with makai.running(brokers.triggering):
        client = makai.client(brokers)
        assert not makai.arrives(makai.box(brokers, "1", makai.generate()), client, seconds=0.5)
        makai.wait_for(lambda: brokers.triggering.counters.total("refused"))


def test_a_client_without_curve_gets_nothing_through(makai: Any) -> None:
    brokers = makai.brokers()
    with makai.running(brokers.triggering):
        client, box = makai.client(brokers), makai.box(brokers, "1")
        assert makai.arrives(box, client)
        clear = makai.peer().connect(zmq.PUB, brokers.triggering_config.box_endpoint)
        for _ in range(10):
            clear.send_multipart(box.measurement(rms=1.0))
            time.sleep(0.02)
        while client.measurements.poll(300):  # `arrives` may have sent several
            assert client.measurements.recv_multipart() == box.measurement()
        for _ in range(5):  # who sees first that the other speaks differently hangs up: both are counted
            makai.peer().connect(zmq.PUB, brokers.triggering_config.box_endpoint)
        makai.wait_for(lambda: brokers.triggering.counters.total("handshakes_failed") >= 6)


def test_a_new_key_file_admits_its_box(makai: Any) -> None:
    """A key put into the folder admits its Box soon on the same sockets."""
    brokers = makai.brokers()
    pair = makai.generate()
    with makai.running(brokers.triggering), makai.running(brokers.acquisition):
        box, client = makai.box(brokers, "7", pair), makai.client(brokers)
        assert not makai.arrives(box, client, seconds=0.3)
        write_public(brokers.keys.box_public("7"), KeyPair(pair.public), "7")
        assert makai.arrives(box, client, seconds=60.0)
        # the Box's own thread sends its subscription again, when it enters the socket
        listening = brokers.acquisition.counters
        makai.wait_for(lambda: box.sub.poll(1) or listening.of("boxes_listening", "7"))
        client.ask("7", "data_x_y")
        assert box.command() is not None


@pytest.mark.parametrize("is_new", [True, False])
def test_a_key_added_during_the_start_is_admitted(tmp_path: Path, is_new: bool) -> None:
    """A Box that was set up while its broker started used to be refused for ever."""
    folder = KeyFolder(tmp_path / "curve")
    folder.make_folders()
    if not is_new:
        os.utime(folder.public_keys, (1, 1))
    pair = generate()

    class Started(AllowList):
        def _use(self) -> dict[str, tuple[str, ...]]:
            used = super()._use()
            if not folder.box_public("7").exists():  # within `start`, before the watch
                write_public(folder.box_public("7"), KeyPair(pair.public), "7")
            return used

    allowed = Started(folder, ServiceCounters(), log.get(service="test"))
    allowed.start()
    try:
        wait_for(lambda: allowed.changes() is not None)
        assert allowed.boxes == {pair.public.decode(): "7"}
    finally:
        allowed.close()


def test_a_key_file_written_in_place_is_read(tmp_path: Path) -> None:
    """Not only a file that is put in the place of another, as our own commands do it."""
    folder = KeyFolder(tmp_path / "curve")
    folder.create(server=False, box_ids=("7",))
    other = KeyFolder(tmp_path / "other")
    other.create(server=False, box_ids=("7",))
    (folder.public_keys / "link.key").symlink_to("nothing")  # changes nothing of the others
    with AllowList(folder, ServiceCounters(), log.get(service="test")) as allowed:
        (before,) = allowed.boxes
        folder.box_public("7").write_bytes(other.box_public("7").read_bytes())
        wait_for(lambda: allowed.changes() is not None)
        assert list(allowed.boxes.values()) == ["7"] and before not in allowed.boxes


class CountedList(AllowList):
    looks = 0

    def _stamps(self) -> frozenset[FileStamp] | None:
        self.looks += 1
        return super()._stamps()


def test_unchanged_key_files_are_rarely_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's own stamp is enough between; it shows at once that a file went."""
    monkeypatch.setattr(allow_list, "CHECK_S", 0.01)
    monkeypatch.setattr(allow_list, "YOUNG_NS", allow_list.TICK_NS)
    folder = KeyFolder(tmp_path / "curve")
    folder.create(server=False, box_ids=("7", "8"))
    with CountedList(folder, ServiceCounters(), log.get(service="test")) as allowed:
        time.sleep(0.3)  # until the files are no longer fresh
        before = allowed.looks
        time.sleep(0.5)
        assert allowed.looks <= before + 1
        monkeypatch.setattr(allow_list, "FILES_S", 600.0)
        folder.box_public("7").unlink()
        wait_for(lambda: allowed.changes() is not None)
        assert list(allowed.boxes.values()) == ["8"]


def test_a_key_file_filled_later_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that came empty is looked at as often as the folder for some time."""
    monkeypatch.setattr(allow_list, "FILES_S", 600.0)
    folder = KeyFolder(tmp_path / "curve")
    folder.create(server=False, box_ids=("7",))
    file = folder.box_public("7")
    key = file.read_text()
    file.write_text("")
    with AllowList(folder, ServiceCounters(), log.get(service="test")) as allowed:
        time.sleep(1.0)  # until it was looked at when it was no longer fresh
        file.write_text(key)
        wait_for(lambda: allowed.changes() is not None)
        assert list(allowed.boxes.values()) == ["7"]


def test_arriving_keys_cost_a_bounded_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allow_list, "CHECK_S", 0.01)
    monkeypatch.setattr(allow_list, "SHARE", 1e-9)
    folder = KeyFolder(tmp_path / "curve")
    folder.create(server=False, box_ids=("7",))
    with CountedList(folder, ServiceCounters(), log.get(service="test")) as allowed:
        for place in range(30):
            folder.box_public(f"{place + 8}").write_text(folder.box_public("7").read_text())
            time.sleep(0.02)
        assert allowed.looks <= 2, "one at the start, and one before the pause"


def test_a_revoked_box_alone_is_cut(makai: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_peers, "WATCH_S", PATIENT_S)
    brokers = makai.brokers()
    with makai.running(brokers.triggering), makai.running(brokers.acquisition):
        gone, stays, client = makai.box(brokers, "1"), makai.box(brokers, "4"), makai.client(brokers)
        watched = {
            box.box_id: [makai.watch(opened) for opened in (box.pub, box.sub, box.push)]
            for box in (gone, stays)
        }
        assert makai.arrives(gone, client)
        assert makai.arrives(stays, client)
        makai.wait_for(lambda: brokers.acquisition.counters.total("boxes_listening") >= 2)
        # 8194 and 8196, where no frame was ever sent
        makai.wait_for(lambda: brokers.acquisition.counters.total("handshakes") >= 4)
        makai.wait_for(lambda: brokers.acquisition.connections() == {"1": 2, "4": 2})
        brokers.keys.box_public("1").unlink()
        makai.wait_for(lambda: makai.ends(watched["1"][0]))
        makai.wait_for(lambda: makai.ends(watched["1"][1]))
        makai.wait_for(lambda: makai.ends(watched["1"][2]))
        assert makai.arrives(stays, client)
        assert not makai.arrives(gone, client, seconds=0.5)
        client.ask("1", "data_x_y")
        assert gone.command(timeout_ms=300) is None
        assert [makai.ends(each) for each in watched["4"]] == [0, 0, 0]
        makai.wait_for(lambda: brokers.triggering.counters.of("refused", gone.pair.public.decode()))


def test_a_box_without_its_file_is_cut_first(makai: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the files of the other Boxes are read."""
    brokers = makai.brokers()
    read, reading, goes_on = KeyFolder.owners, threading.Event(), threading.Event()

    def slowly(folder: KeyFolder) -> Any:
        reading.set()
        assert goes_on.wait(240)
        return read(folder)

    with makai.running(brokers.triggering):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        assert makai.arrives(box, client)
        watched = makai.watch(box.pub)
        monkeypatch.setattr(KeyFolder, "owners", slowly)
        brokers.keys.box_public("1").unlink()
        assert reading.wait(240)
        makai.wait_for(lambda: makai.ends(watched))
        goes_on.set()
        makai.wait_for(lambda: brokers.triggering.counters.total("admitted_now") == 2)


def test_a_box_that_is_listed_again_reconnects(makai: Any) -> None:
    """A Box that is listed again comes back by itself."""
    brokers = makai.brokers()
    with makai.running(brokers.triggering):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        assert makai.arrives(box, client)
        path = brokers.keys.box_public("1")
        kept = path.read_bytes()
        path.unlink()
        makai.wait_for(lambda: brokers.triggering.counters.of("refused", box.pair.public.decode()))
        path.write_bytes(kept)
        assert makai.arrives(box, client)


def test_only_a_second_connection_is_reported(makai: Any) -> None:
    """A second connection with one key is reported; a reconnect is not."""
    brokers = makai.brokers()
    with makai.running(brokers.triggering):
        client, counters = makai.client(brokers), brokers.triggering.counters
        first = makai.box(brokers, "1")
        assert makai.arrives(first, client)
        first.close()
        makai.wait_for(lambda: not counters.total("connections_now"))
        second = makai.box(brokers, "1")
        assert makai.arrives(second, client) and counters.of("connected_twice", "1") == 0
        third = makai.box(brokers, "1", second.pair)  # another gateway with this Box's key
        assert makai.arrives(third, client)
        makai.wait_for(lambda: counters.of("connected_twice", "1") == 1)


def test_a_replaced_key_is_not_admitted(makai: Any) -> None:
    brokers = makai.brokers()
    new = makai.generate()
    with makai.running(brokers.triggering):
        old, client = makai.box(brokers, "1"), makai.client(brokers)
        assert makai.arrives(old, client)
        write_public(brokers.keys.box_public("1"), KeyPair(new.public), "1")
        fresh = makai.box(brokers, "1", new)
        assert makai.arrives(fresh, client)
        assert not makai.arrives(old, client, seconds=0.4, timestamp_ms=77)


def test_a_box_that_sends_as_another_is_dropped(makai: Any) -> None:
    brokers = makai.brokers()
    with makai.running(brokers.triggering):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        assert makai.arrives(box, client)
        assert not makai.arrives(box, client, seconds=0.3, box_id=4)
        makai.wait_for(lambda: brokers.triggering.counters.of("foreign", "1"))
        topic_of_4 = [b"0004", box.measurement()[1]]
        box.pub.send_multipart(topic_of_4)
        while client.measurements.poll(200):
            assert client.measurements.recv_multipart() == box.measurement()
        assert makai.arrives(box, client)


def test_a_broken_key_file_is_reported(makai: Any) -> None:
    """A broken key file is reported and affects no other Box."""
    brokers = makai.brokers()
    with structlog.testing.capture_logs() as lines, makai.running(brokers.triggering):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        assert makai.arrives(box, client)
        written = brokers.keys.public_keys.parent / "written"
        written.write_text("nonsense")
        written.replace(
            brokers.keys.public_keys / "opqbox99.key"
        )  # an empty one would be another refused file
        makai.wait_for(lambda: brokers.triggering.counters.total("key_files_refused") == 1)
        assert makai.arrives(box, client)
    assert any(line["event"] == "keys.file_refused" for line in lines)


def test_each_of_many_boxes_can_be_revoked_alone(makai: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_peers, "WATCH_S", PATIENT_S)
    brokers = makai.brokers()
    ids = [str(k) for k in range(20, 40)]
    brokers.keys.create(False, ids)
    with makai.running(brokers.acquisition):
        server = KeyPair(brokers.server.public)
        peer = makai.peer()
        pushes = {
            each: peer.connect(
                zmq.PUSH, brokers.acquisition_config.response_endpoint, brokers.pair(each), server
            )
            for each in ids
        }
        watched = {each: makai.watch(opened) for each, opened in pushes.items()}
        makai.wait_for(lambda: brokers.acquisition.counters.total("handshakes") >= len(ids))
        makai.wait_for(lambda: brokers.acquisition.connections() == dict.fromkeys(ids, 1))
        for some in (ids[:4], ids[4:5]):  # after the second turn, the first is over
            for each in some:
                brokers.keys.box_public(each).unlink()
            for each in some:
                makai.wait_for(lambda each=each: makai.ends(watched[each]))
        assert [makai.ends(watched[each]) for each in ids[5:]] == [0] * 15
