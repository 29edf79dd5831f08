"""Admission to the back-end addresses of one service: CURVE with ZAP, from a live key folder.

A thread answers the handshakes of the service's context; the sockets stay in the service's thread. A key that
is removed from the folder is removed from `admitted` within a second, and `BackendPeers` ends its
connections.

Counted: `backend_refused` by key, `backend_admitted_now`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import zmq

from opq_cloud.core.backend.allow_list import ZAP_ENDPOINT, AllowList, is_in_clear, requested_key
from opq_cloud.core.backend.sockets import Context, open_socket, service_context
from opq_cloud.core.backend.waits import PollableEvent, wait_for
from opq_cloud.core.service import ServiceCounters
from opq_proto.errors import ConfigError
from opq_proto.keys.backend_keys import KEYS_DOMAIN, BackendAddress, BackendKeyFolder, backend_address
from opq_proto.kit import log
from opq_proto.kit.own_thread import OwnThread
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.zmq_inbox import waiting_messages


class BackendAdmission(OwnThread):
    """Runs between `start` and `close`; `admitted` from any thread."""

    _join_s = 2.0

    def __init__(self, context: Context, folder: BackendKeyFolder, counters: ServiceCounters) -> None:
        super().__init__("backend-keys")
        self._stop = PollableEvent()
        self._folder, self._counters = folder, counters
        self._log = log.get()
        self._limited = RateLimitedLog(self._log)
        self._allowed = AllowList(folder, counters, self._log, counted_as="backend_admitted_now")
        self._zap = open_socket(context, zmq.REP)
        self._zap.bind(ZAP_ENDPOINT)

    def start(self) -> None:
        self._allowed.start()
        super().start()

    def close(self) -> None:
        super().close()
        if self._thread is None:
            self._zap.close()
        self._allowed.close()

    @property
    def alive(self) -> bool:
        """False when the thread has ended, so that no key is admitted or revoked any more."""
        return super().alive and self._allowed.alive

    @property
    def admitted(self) -> Mapping[str, str]:
        """Key (Z85) -> name; another object when it changes."""
        return self._allowed.boxes

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                wait_for(self._stop, self._zap, self._allowed.news)
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
        """Answers a request; as for Boxes 300 and not 400: libzmq gives up for good after 400."""
        key, problem = requested_key(request, KEYS_DOMAIN)
        request_id = request[1] if len(request) > 1 else b""
        if is_in_clear(request):
            return [b"1.0", request_id, b"200", b"OK", b"", b""]
        if not problem and key in self._allowed.boxes:
            return [b"1.0", request_id, b"200", b"OK", key.encode(), b""]
        problem = problem or "key is not in public_keys"
        self.refuse(key, problem)
        return [b"1.0", request_id, b"300", problem.encode(), b"", b""]

    def refuse(self, key: str, reason: str) -> None:
        """Counts a refusal by key; logs at most every 10 s per key."""
        self._counters.add("backend_refused", label=key)
        self._limited.warning("backend.refused", key=(key, reason), public_key=key, reason=reason)


@dataclass(frozen=True, slots=True)
class BackendContext:
    """The context in which a service makes the sockets that it binds for other services."""

    context: Context
    admission: BackendAdmission | None
    """None where they are in clear, or closed."""


@contextmanager
def backend_context(addresses: Sequence[str], counters: ServiceCounters) -> Iterator[BackendContext]:
    """Yields a context of its own, as one context has one ZAP handler: those of Boxes have another.

    Raises:
        ConfigError: the addresses name different folders.
    """
    found = [backend_address(address) for address in addresses]
    with_keys = {address.folder: address for address in found if address.folder is not None}
    if len(with_keys) > 1:
        raise ConfigError(f"{', '.join(map(str, found))}: want one folder of keys for all of them")
    with ExitStack() as opened:
        context = opened.enter_context(service_context())
        if not with_keys:
            yield BackendContext(context, None)
            return
        admission = BackendAdmission(context, _folder(*with_keys.values()), counters)
        opened.enter_context(closing(admission))
        admission.start()
        yield BackendContext(context, admission)


def _folder(address: BackendAddress) -> BackendKeyFolder:
    keys = address.keys
    assert keys is not None
    return keys
