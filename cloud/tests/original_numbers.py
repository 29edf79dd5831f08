"""The original's number service, and a plug-in of the original that stores an incident, as they behave.

Source: openpowerquality/opq d3d9f051, mauka/services/brokers.py (start_incident_id_service),
mauka/services/incident_id_provider.py, mauka/mongo.py (next_available_incident_id, store_incident).
"""

import threading
import time
from typing import Any

import zmq
from google.protobuf.message import DecodeError
from gridfs import GridFS
from pymongo import DESCENDING
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from opq_proto.wire.mauka_pb2 import MaukaMessage


class OriginalNumbers:
    """The service: it reads the highest stored number once, at its start, and never looks at the store again.

    As the original it ends at a message that is not a request for a number: its REP socket may not receive
    twice without sending.
    """

    def __init__(self, db: Database[Any], address: str) -> None:
        self._next = 1
        if db.incidents.estimated_document_count() > 0:
            (newest,) = db.incidents.find().sort("incident_id", DESCENDING).limit(1)
            self._next = newest["incident_id"] + 1
        self._address, self._stop = address, threading.Event()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.bind(address)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if not self._socket.poll(20):
                    continue
                message = MaukaMessage.FromString(self._socket.recv())
                if message.WhichOneof("message") != "incident_id_req":
                    return
                answer = MaukaMessage(timestamp_ms=1, source="incident_id_service")
                answer.incident_id_resp.resp_id = message.incident_id_req.req_id
                answer.incident_id_resp.incident_id, self._next = self._next, self._next + 1
                self._socket.send(answer.SerializeToString())
        except DecodeError:
            return

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close(0)
        self._context.term()


class OriginalPlugin:
    """Draws numbers, and stores incidents later, the samples first; a refused document is lost silently."""

    def __init__(self, db: Database[Any], address: str) -> None:
        self._db, self._files, self._address = db, GridFS(db), address
        self.drawn: list[int] = []
        self.lost: list[int] = []

    def draw(self) -> int:
        request = MaukaMessage(timestamp_ms=1, source="IticPlugin")
        request.incident_id_req.req_id = int(time.time())
        with zmq.Context() as context, context.socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.connect(self._address)
            socket.send(request.SerializeToString())
            assert socket.poll(240_000), "the number service does not answer"
            answer = MaukaMessage.FromString(socket.recv())
        self.drawn.append(answer.incident_id_resp.incident_id)
        return self.drawn[-1]

    def store(self, number: int, start_ms: float, box_id: str = "4") -> None:
        name = f"incident_{number}"
        self._files.put(b"theirs", filename=name, metadata={"incident_id": number})
        document = {
            "incident_id": number,
            "event_id": 1,
            "box_id": box_id,
            "start_timestamp_ms": start_ms,
            "end_timestamp_ms": start_ms + 150.0,
            "location": "UNKNOWN",
            "measurement_type": "VOLTAGE",
            "deviation_from_nominal": -24.0,
            "measurements": [],
            "gridfs_filename": name,
            "classifications": ["ITIC_NO_DAMAGE"],
            "ieee_duration": "INSTANTANEOUS",
            "annotations": [],
            "metadata": {},
            "expire_at": 2**31 - 1,
        }
        try:
            self._db.incidents.insert_one(document)
        except DuplicateKeyError:
            self.lost.append(number)
