"""Numbers for incidents, for plug-ins of the original: REP 9777 (docs/reference/opq-interop.md A.10).

Our service and the original's plug-ins use the one counter of the store, above every stored number: two
services that count by themselves give the same number twice, and the later document is refused (E11000). This
service needs the address alone: an original service on the same machine has to be stopped.
"""

import threading
from functools import partial

from opq_cloud.core.backend.peers import answer_requests
from opq_cloud.core.backend.sockets import Socket
from opq_cloud.core.service import CloudContext, HealthReport, ServiceCounters
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.bus.messages import LARGEST_ID, new_message, read_body
from opq_proto.errors import FrameError, StoreError
from opq_proto.kit import log as logs
from opq_proto.kit.rate_limit import RateLimitedLog

log = logs.get(service="mauka")

SOURCE = "incident_id_service"
RETRY_S = 0.5
LOST_S = 20.0
"""Incidents that the original lost are looked for at this interval."""


class IncidentIds:
    """Counters: `ids_given`, `malformed`, `store_errors`, `incidents_lost` by the original."""

    name = "mauka.incident-ids"

    def __init__(self, config: MaukaSection, shared: CloudContext) -> None:
        self.counters = ServiceCounters()
        self._endpoint = config.incident_id_endpoint
        self._shared = shared
        self._limited = RateLimitedLog(log)

    def health(self) -> list[HealthReport]:
        """Reports another service that numbers incidents in this store."""
        problem = self._shared.numbers_problem()
        return [HealthReport(self.name, problem is None, info=problem)]

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Runs until `stop`; raises PortBusyError when the address is taken."""
        threading.Thread(target=self._watch, args=(stop,), name="lost-incidents", daemon=True).start()
        key, answer = "mauka.incident_id_endpoint", partial(self._answer, stop)
        answer_requests(self._endpoint, self.name, key, self.counters, stop, ready, answer)

    def _watch(self, stop: threading.Event) -> None:
        """Looks for incidents that the original lost, so that health reports them."""
        while not stop.wait(LOST_S):
            try:
                self.counters.set("incidents_lost", self._shared.store.lost_incidents())
            except StoreError as error:
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
                self.counters.add("store_errors")
                self._limited.warning("incident_id.store_failed", error=str(error))
                stop.wait(RETRY_S)
        return None
