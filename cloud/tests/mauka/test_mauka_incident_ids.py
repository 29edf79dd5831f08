"""Numbers for incidents of original plug-ins: one counter for theirs and ours, on a real REQ socket."""

import threading

import pytest
import zmq

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.mauka.original.incident_ids import IncidentIds
from opq_cloud.store import open_store
from opq_proto.errors import PortBusyError, StoreError
from opq_proto.messages import Finding
from opq_proto.wire.mauka_pb2 import MaukaMessage


def request(number):
    message = MaukaMessage(timestamp_ms=1, source="plugin")
    message.incident_id_req.req_id = number
    return message.SerializeToString()


@pytest.fixture
def store(tmp_path):
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


class Asking:
    """The service on `store`, and a plug-in's socket."""

    def __init__(self, store, running, free_endpoint, context):
        self.config = MaukaSection(incident_id_endpoint=free_endpoint())
        self.service = IncidentIds(self.config, CloudContext(lambda: store))
        running.start(self.service)
        self.socket = context.socket(zmq.REQ)
        self.socket.rcvtimeo = 60_000
        self.socket.connect(self.config.incident_id_endpoint)

    def number(self, request_id=7):
        self.socket.send(request(request_id))
        answer = MaukaMessage.FromString(self.socket.recv())
        assert answer.source == "incident_id_service"
        assert answer.incident_id_resp.resp_id == request_id
        return answer.incident_id_resp.incident_id


@pytest.fixture
def context():
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


def test_theirs_and_ours_are_never_the_same(store, running, free_endpoint, context):
    asking = Asking(store, running, free_endpoint, context)
    theirs = [asking.number(0xFFFF_FFFF), asking.number()]
    at_ns = 10**18
    ours = [
        item.finding_id
        for k in range(2)
        for item in put_findings(
            store, k + 1, [Finding("sag", "1", at_ns + k * 10**12, at_ns + k * 10**12 + 1, 0)]
        )
    ]
    theirs.append(asking.number())
    assert [*theirs, *ours] == [1, 2, 5, 3, 4]
    assert asking.service.counters.total("ids_given") == 3


def test_an_invalid_request_gets_an_empty_answer(store, running, free_endpoint, context):
    """A malformed request gets an empty answer, and the next one is served."""
    asking = Asking(store, running, free_endpoint, context)
    for nonsense in (b"\xff\xff", b"", MaukaMessage(source="x").SerializeToString()):
        asking.socket.send(nonsense)
        assert asking.socket.recv() == b""
    asking.socket.send_multipart([request(1), b"more"])
    assert asking.socket.recv() == b""
    assert asking.number() == 1
    assert asking.service.counters.total("malformed") == 4


def test_a_request_waits_for_the_store(store, running, free_endpoint, context, until):
    away = threading.Event()
    away.set()

    class Away:
        numbers = store.numbers

        def next_finding_id(self):
            if away.is_set():
                raise StoreError("the disk is full")
            return store.next_finding_id()

    asking = Asking(Away(), running, free_endpoint, context)
    asking.socket.send(request(3))
    assert until(lambda: asking.service.counters.total("store_errors") >= 1)
    assert not asking.socket.poll(0)
    away.clear()
    assert MaukaMessage.FromString(asking.socket.recv()).incident_id_resp.incident_id == 1


def test_a_second_service_at_the_address_says_so(store, running, free_endpoint, context):
    asking = Asking(store, running, free_endpoint, context)
    second = IncidentIds(asking.config, CloudContext(lambda: store))
    with pytest.raises(PortBusyError, match="incident_id_endpoint"):
        second.run(threading.Event())
