"""`keys.shared_keys`: original Boxes that were given one and the same key."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
import zmq
from zmq.utils.monitor import recv_monitor_message

from opq_cloud.core.settings.config import CloudKeys, CloudKeysSection
from opq_cloud.makai.acquisition_broker import AcquisitionBroker
from opq_cloud.makai.triggering_broker import TriggeringBroker
from opq_cloud.store import BoxRecord, open_store
from opq_proto.keys.key_files import KeyPair, write_public
from opq_proto.wire.opqbox3_pb2 import Measurement, Response
from opq_sim.foreign.cur_box import CurBox
from opq_sim.foreign.host import COUNTS_PER_VOLT, ConnectedBox, ForeignEndpoints, ForeignHost
from opq_sim.foreign.leg_box import LegBox
from opq_sim.mains.generator import Generator, MainsSignal

SIGNAL = MainsSignal(fundamental_v=118.0, v_per_lsb=1 / COUNTS_PER_VOLT)


class Shared:
    """Both brokers, under which Boxes 7, 77 and 8 have one key; Box 1 has its own."""

    def __init__(self, makai: Any, folder: Path, running: ExitStack, policy: Any = "warn") -> None:
        self.brokers = makai.brokers()
        self.keys = CloudKeys(CloudKeysSection(folder=self.brokers.keys.root, shared_keys=policy), folder)
        self.pair = makai.generate()
        for box_id in ("7", "77", "8"):
            write_public(self.keys.box_public(box_id), KeyPair(self.pair.public), box_id)
        self.triggering = TriggeringBroker(self.brokers.triggering_config, self.keys)
        self.acquisition = AcquisitionBroker(self.brokers.acquisition_config, self.keys)
        self.brokers.acquisition = self.acquisition
        for service in (self.triggering, self.acquisition):
            running.enter_context(makai.running(service))
        self.client = makai.client(self.brokers)


def test_only_the_first_box_is_admitted(makai: Any, tmp_path: Path) -> None:
    """The configuration may allow more."""
    with ExitStack() as running:
        shared = Shared(makai, tmp_path, running, "refuse")
        assert makai.arrives(makai.box(shared.brokers, "7", shared.pair), shared.client)
        assert shared.triggering.counters.total("key_files_refused") == 2
        eight = makai.box(shared.brokers, "8", shared.pair)
        assert not makai.arrives(eight, shared.client, seconds=0.3)
        assert shared.triggering.counters.of("foreign", "7")


def test_each_has_its_own_measurements_commands_and_answers(makai: Any, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines, ExitStack() as running:
        shared = Shared(makai, tmp_path, running)
        listening = shared.acquisition.counters
        boxes = {box_id: makai.box(shared.brokers, box_id, shared.pair) for box_id in ("7", "77", "8")}
        for box_id, box in boxes.items():
            assert makai.arrives(box, shared.client)
            makai.wait_for(lambda box_id=box_id: listening.of("boxes_listening", box_id))
        for box_id, box in boxes.items():
            shared.client.ask(box_id, f"who_{box_id}")
            command = box.command()
            assert command is not None and str(command.box_id) == box_id
            box.push.send_multipart(box.answer(command))
            assert shared.client.answers.poll(240_000)
            identity, head, *_ = shared.client.answers.recv_multipart()
            assert (identity, Response.FromString(head).box_id) == (b"who_" + box_id.encode(), int(box_id))
        assert all(box.command(50) is None for box in boxes.values()), "no Box had another one's command"
        assert not makai.arrives(boxes["8"], shared.client, seconds=0.3, box_id=1), "a Box of another key"
        assert shared.triggering.counters.total("connected_twice") == 0
        assert set(shared.triggering.connections()) == {"unknown"}
    [told] = [line for line in lines if line["event"] == "keys.shared" and line.get("boxes")][:1]
    assert told["boxes"] == ("7", "77", "8") and told["log_level"] == "warning"


def test_one_box_of_a_shared_key_is_revoked(makai: Any, tmp_path: Path) -> None:
    """The others reconnect."""
    with ExitStack() as running:
        shared = Shared(makai, tmp_path, running)
        seven, eight = (makai.box(shared.brokers, box_id, shared.pair) for box_id in ("7", "8"))
        assert makai.arrives(seven, shared.client) and makai.arrives(eight, shared.client)
        # each broker reads the folder at its own time
        watched = [each.get_monitor_socket(zmq.EVENT_DISCONNECTED) for each in (eight.sub, eight.pub)]
        makai.wait_for(lambda: shared.acquisition.counters.of("boxes_listening", "8"))
        shared.keys.box_public("7").unlink()
        for each in watched:
            assert each.poll(240_000)
            assert recv_monitor_message(each)["event"] == zmq.EVENT_DISCONNECTED
        assert makai.arrives(eight, shared.client)
        assert not makai.arrives(seven, shared.client, seconds=0.3, timestamp_ms=2)
        listening = shared.acquisition.counters
        makai.wait_for(lambda: eight.command(0) is None and listening.of("boxes_listening", "8") >= 2)
        shared.client.ask("7", "who_7")
        shared.client.ask("8", "who_8")
        assert eight.command().box_id == 8
        assert seven.command(50) is None


def test_original_boxes_of_both_generations_share_a_key(makai: Any, tmp_path: Path) -> None:
    """A LEG Box subscribes to everything, and names itself in its answers alone."""
    with ExitStack() as running:
        shared = Shared(makai, tmp_path, running)
        boxes = [
            ConnectedBox(LegBox("7", COUNTS_PER_VOLT), Generator(SIGNAL, seed=7), shared.pair),
            ConnectedBox(
                CurBox("8", COUNTS_PER_VOLT, shared.pair.public, windows_per_measurement=6),
                Generator(SIGNAL, seed=8),
                shared.pair,
            ),
        ]
        triggering, acquisition = shared.brokers.triggering_config, shared.brokers.acquisition_config
        where = ForeignEndpoints(
            triggering.box_endpoint,
            acquisition.command_endpoint,
            acquisition.response_endpoint,
            shared.brokers.server.public,
        )
        running.enter_context(ForeignHost(where, boxes))
        newest: dict[int, int] = {}
        while set(newest) != {7, 8} or min(newest.values()) < max(newest.values()) - 5000:
            assert shared.client.measurements.poll(240_000)
            read = Measurement.FromString(shared.client.measurements.recv_multipart()[1])
            newest[read.box_id] = read.timestamp_ms
        for box_id in ("7", "8"):
            makai.wait_for(lambda box_id=box_id: shared.acquisition.counters.of("boxes_listening", box_id))
        for box_id in ("7", "8"):
            end_ms = newest[int(box_id)]
            shared.client.ask(box_id, f"data_{'A' * 30}_{box_id}", end_ms - 150, end_ms - 50)
            assert shared.client.answers.poll(240_000)
            identity, head, *cycles = shared.client.answers.recv_multipart()
            assert identity.endswith(box_id.encode()) and Response.FromString(head).box_id == int(box_id)
            assert cycles


@pytest.mark.parametrize("policy", ["refuse", "warn"])
def test_keys_of_the_store_are_shared_alike(makai: Any, tmp_path: Path, policy: Any) -> None:
    store, pair, brokers = open_store(None, tmp_path / "store"), makai.generate(), makai.brokers()
    for box_id in ("20", "21"):
        store.put_box(BoxRecord(box_id, f"Box {box_id}", public_key=pair.public.decode()))
    keys = CloudKeys(CloudKeysSection(folder=brokers.keys.root, shared_keys=policy), tmp_path)
    with makai.running(TriggeringBroker(brokers.triggering_config, keys, lambda: store)):
        client = makai.client(brokers)
        assert makai.arrives(makai.box(brokers, "20", pair), client)
        assert makai.arrives(makai.box(brokers, "21", pair), client, 0.3 if policy == "refuse" else 60) == (
            policy == "warn"
        )
    store.close()
