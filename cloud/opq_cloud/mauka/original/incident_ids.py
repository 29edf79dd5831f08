"""Numbers for incidents, REP 9777 (docs/reference/opq-interop.md A.10): this service, or the original's.

Two services that count by themselves give the same number twice, and the later document is refused (E11000).
Where the address is free, this service answers plug-ins of the original, with the store's counter, above
every stored number. Where the original's service has the address, all findings of ours have its numbers, and
this service takes its place when it has ended. No finding is numbered until it is known which of them it is.
"""

import errno
import threading
import time
from functools import partial

import zmq

from opq_cloud.core.backend.peers import answer_requests
from opq_cloud.core.backend.sockets import Socket
from opq_cloud.core.service import CloudContext, HealthReport, ServiceCounters
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.bus.bus_messages import LARGEST_ID, new_message, read_body
from opq_proto.errors import ConfigError, FrameError, PortBusyError, StoreError
from opq_proto.kit import log as logs
from opq_proto.kit.rate_limit import RateLimitedLog

log = logs.get(service="mauka")

SOURCE = "incident_id_service"
RETRY_S = 0.5
LOST_S = 20.0
"""Incidents that the original lost are looked for at this interval."""
TAKE_OVER_S = 20.0
"""This service tries the address of the original's at this interval."""
ANSWER_S = 10.0
"""Time for the program that has the address to give a first number."""
ELSEWHERE = (errno.EADDRNOTAVAIL, errno.ENODEV)
"""Error numbers of a bind to an address of another machine, and to a host name."""
NOT_KNOWN = "findings wait for the service that numbers them, for 75 s in a database of the original"


class IncidentIds:
    """Counters: `ids_given`, `malformed`, `store_errors`, `incidents_lost` by the original."""

    name = "mauka.incident-ids"

    def __init__(self, config: MaukaSection, shared: CloudContext) -> None:
        self.counters = ServiceCounters()
        self._endpoint = config.incident_id_endpoint
        self._shared = shared
        self._limited = RateLimitedLog(log)
        self._note = NOT_KNOWN
        self._silent: str | None = None
        """Why the service on another machine gives no numbers yet."""
        self._asked = threading.Event()
        """Set once a plug-in of the original has drawn a number here."""

    def health(self) -> list[HealthReport]:
        """Reports another service that numbers incidents in this store, and one that gives no numbers; notes
        where ours are numbered."""
        problem = self._silent or self._shared.numbers_problem()
        return [HealthReport(self.name, problem is None, info=problem, note=self._note)]

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Runs until `stop`.

        `ready` is set once the store gives no number before it is known which service gives them.

        Raises:
            PortBusyError, ConfigError: the address cannot be bound, and what is there does not number this
                store; or it is not an address.
        """
        self._await_service(stop)
        ended = threading.Event()
        threading.Thread(target=self._watch, args=(ended,), name="lost-incidents", daemon=True).start()
        try:
            self._serve(stop, ready)
        finally:
            ended.set()

    def _serve(self, stop: threading.Event, ready: threading.Event | None) -> None:
        key, answer, bound = (
            "mauka.incident_id_endpoint",
            partial(self._answer, stop),
            partial(self._bound, stop),
        )
        is_elsewhere = False
        while not stop.is_set():
            try:
                answer_requests(self._endpoint, self.name, key, self.counters, stop, ready, answer, bound)
            except (PortBusyError, ConfigError) as error:
                is_elsewhere = is_elsewhere or self._number_elsewhere(stop, error)
                if ready is not None:
                    ready.set()
                stop.wait(TAKE_OVER_S)

    def _await_service(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._shared.store.numbers.await_service()
                return
            except StoreError as error:
                self._note_store_error(error)
                stop.wait(RETRY_S)

    def _bound(self, stop: threading.Event) -> None:
        """Begins to number here; in a thread, because plug-ins of the original are answered meanwhile."""
        threading.Thread(
            target=self._number_here, args=(stop, time.time()), name="number-service", daemon=True
        ).start()

    def _number_here(self, stop: threading.Event, bound_s: float) -> None:
        while not stop.is_set():
            try:
                if self._shared.store.numbers.number_here(bound_s, self._asked.is_set()):
                    self._note, self._silent = "", None
                    return
            except StoreError as error:
                self._note_store_error(error)
            stop.wait(RETRY_S)

    def _number_elsewhere(self, stop: threading.Event, busy: PortBusyError | ConfigError) -> bool:
        """Has findings numbered by the service that has the address; False: it is on another machine, and
        gives no numbers yet. Raises `busy` where none can be there."""
        until_s = time.monotonic() + ANSWER_S
        while True:
            try:
                first = self._shared.store.numbers.number_at(self._endpoint)
            except StoreError as error:
                if isinstance(error.__cause__, zmq.ZMQError):  # it is not an address
                    raise busy from error
                if _is_elsewhere(busy):
                    self._silent = str(error)
                    self._note_store_error(error)
                    return False
                if stop.wait(RETRY_S) or time.monotonic() > until_s:
                    raise type(busy)(f"{busy}; for numbers of incidents: {error}") from error
                continue
            if first is None:
                raise busy
            self._note, self._silent = f"findings are numbered by the service at {self._endpoint}", None
            log.info("incident_numbers.elsewhere", address=self._endpoint, number=first)
            return True

    def _watch(self, ended: threading.Event) -> None:
        """Looks for incidents that the original lost, so that health reports them; states the service again
        where another process has withdrawn it."""
        while not ended.wait(LOST_S):
            try:
                self._shared.store.numbers.restate()
                self.counters.set("incidents_lost", self._shared.store.lost_incidents())
            except StoreError as error:
                self._note_store_error(error)

    def _note_store_error(self, error: StoreError) -> None:
        self.counters.add("store_errors")
        self._limited.warning("incident_id.store_failed", error=str(error))

    def _answer(self, stop: threading.Event, socket: Socket, frames: list[bytes]) -> None:
        """Answers each request, an invalid one empty: without an answer the original hangs for good."""
        try:
            if len(frames) != 1:
                raise FrameError(f"{len(frames)} frames; want one MaukaMessage")
            message = read_body(frames[0])
            if message.WhichOneof("message") != "incident_id_req":
                raise FrameError(f"a {message.WhichOneof('message')}; want an incident_id_req")
        except FrameError as error:
            self.counters.add("malformed")
            self._limited.warning("incident_id.malformed", problem=str(error))
            socket.send(b"")
            return
        self._asked.set()
        number = self._next_number(stop)
        if number is None:
            return
        reply = new_message(SOURCE)
        reply.incident_id_resp.resp_id = message.incident_id_req.req_id
        reply.incident_id_resp.incident_id = number & LARGEST_ID
        self.counters.add("ids_given")
        socket.send(reply.SerializeToString())

    def _next_number(self, stop: threading.Event) -> int | None:
        """Retries until the store answers, while the request waits; None: the service ends before that."""
        while not stop.is_set():
            try:
                return self._shared.store.next_finding_id()
            except StoreError as error:
                self._note_store_error(error)
                stop.wait(RETRY_S)
        return None


def _is_elsewhere(busy: PortBusyError | ConfigError) -> bool:
    """Whether an address cannot be bound because it is another machine's, or a name."""
    return isinstance(busy.__cause__, OSError | zmq.ZMQError) and busy.__cause__.errno in ELSEWHERE
