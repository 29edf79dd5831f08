"""The announcements of events on 10000, for Mauka and other subscribers."""

import time
from collections.abc import Iterable

import zmq

from opq_cloud.core.backend.admission import BackendContext
from opq_cloud.core.backend.peers import BackendPeers
from opq_cloud.core.backend.sockets import bind, open_socket
from opq_cloud.core.service import ServiceCounters
from opq_cloud.store.store import CloudStore
from opq_proto.errors import StoreError
from opq_proto.kit.zmq_inbox import try_send

KEY = "event_service.event_endpoint"
ANNOUNCE_LATEST_S = 5.0


class EventAnnouncements:
    """A bound XPUB, and the events that wait for a subscriber; used by one thread."""

    def __init__(self, backend: BackendContext, store: CloudStore, counters: ServiceCounters) -> None:
        self.socket = open_socket(backend.context, zmq.XPUB, xpub_verbose=1)
        self._store = store
        self._counters = counters
        self._unannounced: list[int] = []
        self._instance = ""
        self._latest_s = 0.0
        self._listeners = BackendPeers(backend.context, self.socket, KEY, counters, backend.admission)

    def bind(self, endpoint: str, service: str) -> None:
        """Raises PortBusyError, ConfigError."""
        bind(self.socket, endpoint, service, KEY)

    def close(self) -> None:
        self._listeners.close()
        self.socket.close()

    def put_off(self, instance: str, event_ids: Iterable[int]) -> None:
        """Accepts events to announce at the next subscription, because Mauka may restart too."""
        self._instance, self._unannounced = instance, list(event_ids)
        self._latest_s = time.monotonic() + ANNOUNCE_LATEST_S

    def advance(self) -> None:
        """Checks connections, reads subscriptions, and announces waiting events to the first subscriber."""
        self._listeners.check()
        requests = [data[:1] for data in self._listeners.subscriptions()]
        self._counters.add("subscriptions", requests.count(b"\x01"))
        if self._unannounced and (b"\x01" in requests or time.monotonic() >= self._latest_s):
            for event_id in self._unannounced:
                self.announce(self._instance, event_id)
            self._unannounced = []

    def announce(self, instance: str, event_id: int) -> None:
        """Announces an event unless it completes another, or has grown.

        An original Mauka would store its disturbance again. Ours finds it in the store, joins both, and
        needs no announcement.
        """
        if what := self._known_already(event_id):
            self._counters.add(what)
            return
        self._counters.add("events_announced")
        if not try_send(self.socket, [instance.encode(), str(event_id).encode("ascii")]):
            self._counters.add("announcements_dropped")

    def _known_already(self, event_id: int) -> str | None:
        """Returns the counter of an event whose disturbance was announced before; else None."""
        try:
            record = self._store.event_record(event_id)
        except StoreError:
            return None
        if record is None:
            return None
        if record.completes is not None:
            return "completions_finished"
        return "events_grown" if record.analysed_ns is not None and record.more else None
