"""A lease: of several processes on one store, only its holder does a work that one must do at a time.

The holder renews it once a second. A process that sees the same renewal for TAKEN_S on its own monotonic
clock takes the lease, so no two clocks are compared. A holder that could not renew for HELD_S stops before
that. A process whose work hangs keeps its lease, because another thread renews it.
"""

import os
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

from opq_cloud.store.records.accounts import LEASES
from opq_cloud.store.records.keyed_documents import Fields, KeyedDocuments
from opq_proto import log
from opq_proto.errors import StoreError
from opq_proto.own_thread import PeriodicCall

BEAT_S = 1.0
HELD_S = 4.0
"""How long the lease counts as held after the store last accepted a renewal."""
TAKEN_S = 6.0


class StoreLease:
    """The right to do the work of this name, which one process at most holds among all that share a store."""

    def __init__(
        self,
        name: str,
        documents: Callable[[], KeyedDocuments],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`documents` is called in the lease's own thread; after a StoreError it is called again."""
        self.holder = ""
        """Machine and process that held it at the last renewal; empty where nobody did."""
        self.is_held_elsewhere = False
        """Whether another process held it at the last renewal."""
        self._name, self._documents, self._now = name, documents, monotonic_s
        self._own = f"{socket.gethostname()}:{os.getpid()} {uuid.uuid4().hex}"
        self._until_s = 0.0
        self._seen: tuple[Fields, float] | None = None
        """Another holder's document, and when it was first seen."""
        self._renewing = PeriodicCall(f"lease-{name}", self._try_to_renew, BEAT_S, at_once=True)

    def held(self) -> bool:
        """Whether this process holds it now. Any thread may call; does not read the store."""
        return self._now() < self._until_s

    def start(self) -> None:
        """Renews or checks the lease once a second from now on, until `close`."""
        self._renewing.start()

    @property
    def info(self) -> str:
        """Text for a health report."""
        return "works here" if self.held() else f"stands by; works: {self.holder or 'nobody yet'}"

    def renew(self) -> None:
        """Renews the lease if it is this process's or free, else checks its holder. Raises StoreError."""
        documents, now_s = self._documents(), self._now()
        if documents.change(LEASES, self._name, self._own_word):
            self._until_s = now_s + HELD_S
            self.holder, self.is_held_elsewhere = self._own.partition(" ")[0], False
            return
        self._until_s = 0.0
        there = documents.get(LEASES, self._name)
        if there is None:
            documents.insert(LEASES, self._name, {"holder": self._own, "beat": 0})
            return  # held from the next renewal on, if nobody took it meanwhile
        self.holder = str(there["holder"]).partition(" ")[0]
        self.is_held_elsewhere = there["holder"] not in ("", self._own)
        if self._seen is None or self._seen[0] != there:
            self._seen = there, self._now()
        elif now_s >= self._seen[1] + TAKEN_S:
            documents.change(LEASES, self._name, lambda found: self._taken() if found == there else None)

    def close(self) -> None:
        """Releases the lease; the next process has it within two seconds."""
        self._renewing.close()
        if self.held():
            self._until_s = 0.0
            with suppress(StoreError):
                self._documents().change(
                    LEASES,
                    self._name,
                    lambda found: {"holder": "", "beat": 0} if self._is_ours(found) else None,
                )

    def _try_to_renew(self) -> None:
        try:
            self.renew()
        except StoreError as error:
            log.get().warning("lease.not_looked_at", lease=self._name, error=str(error))

    def _is_ours(self, found: Fields) -> bool:
        return bool(found["holder"] == self._own)

    def _own_word(self, found: Fields) -> Fields | None:
        if found["holder"] == "":  # the last holder has released it
            return self._taken()
        return self._taken(int(found["beat"]) + 1) if self._is_ours(found) else None

    def _taken(self, beat: int = 0) -> Fields:
        return {"holder": self._own, "beat": beat}
