"""Who gives the numbers of findings and incidents: the counter of this database, or the original's service.

The original's service (docs/reference/opq-interop.md A.10) reads the highest stored number at its start, and
counts in its memory from there: our counter would give the same ones. So while it runs, each process of ours
draws from it. `opq-cloud mauka` finds out at its start which service there is, and states it here for all;
until then nothing is numbered (`mauka/original/incident_ids.py`).
"""

import time
from datetime import UTC, datetime
from socket import gethostname

import zmq
from bson.int64 import Int64
from bson.objectid import ObjectId
from google.protobuf.message import DecodeError
from pymongo import DESCENDING

from opq_cloud.store.documents import Document
from opq_cloud.store.mongo.mongo_server import (
    FINDINGS,
    LARGEST_NUMBER,
    OTHERS_NUMBERS,
    MongoServer,
    store_errors,
    upsert,
)
from opq_cloud.store.records.accounts.account_records import LEASES
from opq_cloud.store.service_lock import FREE_S, has_ended
from opq_proto.errors import StoreError
from opq_proto.keys.backend_keys import BackendAddress
from opq_proto.kit.origin_guard import is_loopback
from opq_proto.kit.system_place import own_namespace
from opq_proto.kit.zmq_addresses import connectable, host_of
from opq_proto.wire.mauka_pb2 import MaukaMessage

STATED = "incident_number_service"
"""In `opq_counters`: `address` of the service, empty for our counter; `waits` while it is not known.

`host` and `network` are those of the process that stated an address, which may be loopback."""
ANSWER_MS = 2000
"""Longest wait for a number: the process that draws it may hold a lock (`LEASE_S`)."""
FIRST_WAIT_S = 75.0
"""Longest wait for the original at the first start in its database: it stores its statistics each minute."""
NUMBERS_IN_HAND = 1000
"""Numbers that the original's service may have given before it ended, for incidents not yet stored."""
ORIGINAL_IDS = ("laha_config", "laha_stats")
"""Collections in which the `_id` of the original's documents is an ObjectId, and of ours is not."""
SOURCE = "opq-cloud"
MAUKA = "mauka"
"""The name of Mauka's lock (`service_lock.py`)."""


class MongoNumbers:
    """`driver.NumberService`; from any thread."""

    def __init__(self, server: MongoServer) -> None:
        self._server, self._db = server, server.db
        self._known: str | None = None
        """The address that this process has stated."""
        self._lease: tuple[Document, float] | None = None
        """The document of the process that runs Mauka, and when it was first seen (s, monotonic)."""

    @store_errors
    def await_service(self) -> None:
        self._known = None
        self._state({"waits": True})

    @store_errors
    def number_here(self, bound_s: float, asked: bool) -> bool:
        before = self._stated().get("address")
        if before is None and not asked and self._original_wrote(0.0):
            if time.time() < bound_s + FIRST_WAIT_S:
                return False
            if self._original_wrote(bound_s - FIRST_WAIT_S):  # it runs, and draws elsewhere
                self._leave_numbers(OTHERS_NUMBERS)
        elif before:
            self._leave_numbers(NUMBERS_IN_HAND)
        self._state_service("")
        return True

    @store_errors
    def number_at(self, address: str) -> int | None:
        in_use = self._server.highest_number(FINDINGS)
        (number,) = draw_numbers(address, 1)
        if number <= in_use:
            raise StoreError(
                f"the number service at {address} gave {number}, and this store has {in_use} already: it "
                "numbers another store"
            )
        self._state_service(address)
        return number

    @store_errors
    def restate(self) -> None:
        if self._known is not None and self._stated().get("waits"):
            self._state_service(self._known)

    def draw(self, address: str, count: int) -> list[int]:
        """Draws numbers as `draw_numbers`; why it failed is the problem of the numbers until it works."""
        try:
            numbers = draw_numbers(address, count)
        except StoreError as error:
            self._server.draw_problem = str(error)
            raise
        self._server.draw_problem = None
        return numbers

    def address(self) -> str:
        """Returns where numbers are drawn; empty for our counter.

        Where no Mauka runs that looks for the service, it is the one that the last Mauka found. Raises
        StoreError while it is not known.
        """
        stated = self._stated()
        address = stated.get("address")
        if stated.get("waits"):
            holder = self._mauka_holder()
            if address is None or holder is not None:
                at = "" if holder is None else f" (on {holder['host']} as process {holder['pid']})"
                raise StoreError(
                    f"incidents are not numbered yet, because opq-cloud mauka{at} looks for the service that "
                    "numbers them, for 75 s at most; start it if it does not run"
                )
        if address and _is_loopback(address) and self._is_elsewhere(stated):
            raise StoreError(
                f"incidents are numbered at {address} of {stated['host']}, which only that machine reaches; "
                "number them there, or set mauka.incident_id_endpoint there to an address for other machines"
            )
        return str(address or "")

    def _is_elsewhere(self, stated: Document) -> bool:
        """Whether the service was stated on another machine, or in a container with its own loopback."""
        own, network = own_namespace("net"), stated.get("network")
        return bool(own and network) and network != own

    def _mauka_holder(self) -> Document | None:
        """Returns the document of the process that holds Mauka's lock; a killed one does not hold it."""
        held = self._db[LEASES].find_one({"_id": MAUKA})
        if held is None or has_ended(held):
            return None
        if self._lease is None or self._lease[0] != held:
            self._lease = held, time.monotonic()
        return held if time.monotonic() < self._lease[1] + FREE_S else None

    def _state_service(self, address: str) -> None:
        stated_at = {"host": gethostname(), "network": own_namespace("net")}
        self._state({"waits": False, "address": address, **stated_at})
        self._known, self._server.draw_problem = address, None

    def _stated(self) -> Document:
        return self._db.opq_counters.find_one({"_id": STATED}) or {}

    def _state(self, facts: Document) -> None:
        upsert(lambda: self._db.opq_counters.update_one({"_id": STATED}, {"$set": facts}, upsert=True))

    def _leave_numbers(self, count: int) -> None:
        """Raises our counter, so that this many numbers after the highest stored one are not given here."""
        value = Int64(min(self._server.highest_number(FINDINGS) + count, LARGEST_NUMBER))
        change = {"$max": {"value": value}}
        upsert(lambda: self._db.opq_counters.update_one({"_id": FINDINGS}, change, upsert=True))

    def _original_wrote(self, since_s: float) -> bool:
        """Whether the original has stored something since this time, by the clock of its machine."""
        since = ObjectId.from_datetime(datetime.fromtimestamp(max(0.0, since_s), UTC))
        for name in ORIGINAL_IDS:
            if self._db[name].find_one({"_id": {"$gte": since}}, {"_id": 1}) is not None:
                return True
        theirs = {"group_id": None, "incident_id": {"$gt": 0}}
        newest = self._db.incidents.find_one(theirs, {"_id": 1}, sort=[("incident_id", DESCENDING)])
        return newest is not None and isinstance(newest["_id"], ObjectId) and newest["_id"] >= since


def _is_loopback(address: str) -> bool:
    host = host_of(connectable(address.partition("?")[0]))
    return host == "::1" or is_loopback(host)


def draw_numbers(address: str, count: int) -> list[int]:
    """Draws numbers from the service at an address, as a plug-in of the original does.

    Raises:
        StoreError: nothing answers there within ANSWER_MS, or what answers gives no numbers.
    """
    place = connectable(address.partition("?")[0])  # the original's service knows no keys
    try:
        with zmq.Context() as context, context.socket(zmq.REQ) as socket:
            socket.linger = 0
            BackendAddress(place).connect(socket)
            return [_draw(socket, place) for _ in range(count)]
    except zmq.ZMQError as error:
        raise StoreError(f"numbers of incidents cannot be drawn at {place}: {error.strerror}") from error


def _draw(socket: "zmq.Socket[bytes]", place: str) -> int:
    request = MaukaMessage(timestamp_ms=time.time_ns() // 1_000_000, source=SOURCE)
    request.incident_id_req.req_id = int(time.time()) & 0xFFFF_FFFF
    socket.send(request.SerializeToString())
    if not socket.poll(ANSWER_MS):
        raise StoreError(f"the service at {place}, which numbers incidents, does not answer; start it")
    try:
        answer = MaukaMessage.FromString(socket.recv())
    except DecodeError:
        answer = MaukaMessage()
    given = answer.incident_id_resp
    if given.resp_id != request.incident_id_req.req_id or not 0 < given.incident_id <= LARGEST_NUMBER:
        raise StoreError(
            f"{place}: its answer is not a number of an incident; want the original's number service"
        )
    return int(given.incident_id)
