"""Who may connect to the back-end addresses of one service: CURVE with ZAP, from a live key folder.

A thread answers the handshakes of the service's context; its sockets stay the service's own. A key that goes
from the folder goes from `names` within a second, and `BackendPeers` ends the connections that came with it.
Counted: `backend_refused` by key, `backend_admitted_now`.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import zmq

from opq_cloud.allow_list import ZAP_ENDPOINT, AllowList, requested_key
from opq_cloud.service import ServiceCounters
from opq_cloud.sockets import BACKEND_DOMAIN, POLL_MS, Context, open_socket, service_context
from opq_proto import log
from opq_proto.backend_keys import BackendAddress, BackendKeyFolder, backend_address
from opq_proto.errors import ConfigError
from opq_proto.rate_limit import RateLimitedLog
from opq_proto.zmq_inbox import waiting_messages

JOIN_S = 2.0


class BackendAdmission:
    """Between `start` and `close`; `names` and `name_of` from any thread."""

    def __init__(self, context: Context, folder: BackendKeyFolder, counters: ServiceCounters) -> None:
        self._counters = counters
        self._log = log.get()
        self._limited = RateLimitedLog(self._log)
        self._allowed = AllowList(folder, counters, self._log, counted_as="backend_admitted_now")
        self._zap = open_socket(context, zmq.REP)
        self._zap.bind(ZAP_ENDPOINT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._answer_handshakes, name="backend-keys", daemon=True)

    def start(self) -> None:
        self._allowed.start()
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.ident is None:
            self._zap.close()
        else:
            self._thread.join(JOIN_S)
        self._allowed.close()

    @property
    def names(self) -> Mapping[str, str]:
        """Key (Z85) -> name of who is admitted; another object when that changes."""
        return self._allowed.boxes

    @property
    def alive(self) -> bool:
        """False: nobody is let in, or shut out, any more."""
        return self._thread.is_alive() and self._allowed.alive

    def name_of(self, key: str) -> str | None:
        """Whose key it is; None: it is not admitted (any more)."""
        return self._allowed.boxes.get(key)

    def _answer_handshakes(self) -> None:
        try:
            while not self._stop.is_set():
                self._zap.poll(POLL_MS)
                for request in waiting_messages(self._zap):
                    self._zap.send_multipart(self._verdict(request))
                change = self._allowed.changes()
                if change is not None:
                    for what, keys in (("admitted", change.admitted), ("revoked", change.revoked)):
                        for key, name in keys.items():
                            self._log.info(f"backend.{what}", public_key=key, peer=name)
        finally:
            self._zap.close()

    def _verdict(self, request: list[bytes]) -> list[bytes]:
        """As of Boxes, 300 and not 400: libzmq gives up for good after 400."""
        key, problem = requested_key(request, BACKEND_DOMAIN)
        request_id = request[1] if len(request) > 1 else b""
        if not problem and self.name_of(key) is not None:
            return [b"1.0", request_id, b"200", b"OK", key.encode(), b""]
        problem = problem or "key is not in public_keys"
        self.refuse(key, problem)
        return [b"1.0", request_id, b"300", problem.encode(), b"", b""]

    def refuse(self, key: str, reason: str) -> None:
        """Count by key; a line at most every 10 s per key."""
        self._counters.add("backend_refused", label=key)
        self._limited.warning("backend.refused", key=(key, reason), public_key=key, reason=reason)


@dataclass(frozen=True, slots=True)
class BackendDoor:
    """Where a service makes the sockets that it binds for other services."""

    context: Context
    admission: BackendAdmission | None
    """None: they are in clear, or closed to everybody."""


@contextmanager
def backend_door(
    context: Context, addresses: Sequence[str], counters: ServiceCounters
) -> Iterator[BackendDoor]:
    """In clear the service's own context; with keys another one, for one context has one ZAP handler.

    Raises:
        ConfigError: the addresses name different folders.
    """
    found = [backend_address(address) for address in addresses]
    with_keys = {address.folder: address for address in found if address.folder is not None}
    if not with_keys:
        yield BackendDoor(context, None)
        return
    if len(with_keys) > 1:
        raise ConfigError(f"{', '.join(map(str, found))}: want one folder of keys for all of them")
    with ExitStack() as opened:
        own = opened.enter_context(service_context())
        admission = BackendAdmission(own, _folder(*with_keys.values()), counters)
        opened.enter_context(closing(admission))
        admission.start()
        yield BackendDoor(own, admission)


def _folder(address: BackendAddress) -> BackendKeyFolder:
    keys = address.keys
    assert keys is not None
    return keys
