"""Event ids on 10001: any request is answered with one, "exit" too (the original stops;
docs/reference/opq-interop.md H.8)."""

import zmq

from opq_cloud.core.backend.admission import BackendContext
from opq_cloud.core.backend.peers import BackendPeers
from opq_cloud.core.backend.sockets import bind, open_socket
from opq_cloud.core.service import ServiceCounters
from opq_cloud.store.store import CloudStore

KEY = "event_service.event_id_endpoint"
IDS_AT_ONCE = 20
"""Each id is a write to the disk; a client that requests endlessly must not delay the answers."""


class EventIds:
    """A bound REP; used by one thread. Ids come from the store, also while another event service works."""

    def __init__(self, backend: BackendContext, store: CloudStore, counters: ServiceCounters) -> None:
        self.socket = open_socket(backend.context, zmq.REP)
        self._store = store
        self._counters = counters
        self._owed = False
        """Whether a request was read and has no answer yet."""
        self._clients = BackendPeers(backend.context, self.socket, KEY, counters, backend.admission)

    def bind(self, endpoint: str, service: str) -> None:
        """Raises PortBusyError, ConfigError."""
        bind(self.socket, endpoint, service, KEY)

    def close(self) -> None:
        self._clients.close()
        self.socket.close()

    def advance(self) -> None:
        """Checks connections, and answers requests.

        Raises:
            StoreError: there is no id now; the client waits until the store answers.
        """
        self._clients.check()
        for _ in range(IDS_AT_ONCE):
            if not self._owed and next(self._clients.messages(1), None) is None:
                return
            self._owed = True
            number = self._store.next_event_id()
            self.socket.send(str(number).encode("ascii"))
            self._owed = False
            self._counters.add("ids_given")
