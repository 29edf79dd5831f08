"""StoreAcknowledgements: one Box's Measurements are held until each store that takes them has them. Pure.

A Box that sends to two clouds with a store of their own, say while one replaces the other, hears both
acknowledge. What one has stored the other may lack: it was away, or its disk was full. A store that has
not acknowledged for FORGOTTEN_S is taken as gone for good. Short; the simulated fleet has it too.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from opq_gateway.uplink.backlog import CloudAcknowledgement

FORGOTTEN_S = 3600.0
"""A store that is silent for so long while another acknowledges is not waited for any more."""
MOST_STORES = 8
"""Stores that are remembered; beyond, the one that was silent longest is forgotten."""
_TEXT = re.compile(r"[0-9a-z]{1,64}:\d{1,18}(,[0-9a-z]{1,64}:\d{1,18}){0,63}", re.ASCII)


class StoreAcknowledgements:
    """What the stores have acknowledged of one Box; times are monotonic and handed in."""

    __slots__ = ("_forgotten_s", "_stores")

    def __init__(self, forgotten_s: float = FORGOTTEN_S) -> None:
        self._forgotten_s = forgotten_s
        self._stores: dict[str, tuple[int, float]] = {}

    @property
    def others(self) -> Iterable[str]:
        """Names of the stores, where there are several."""
        return tuple(self._stores) if len(self._stores) > 1 else ()

    def combine(self, acknowledged: CloudAcknowledgement, now_s: float) -> CloudAcknowledgement:
        """What every store has up to, where one of them now says what it has; its holes stay as they are."""
        stores = self._stores
        stores.pop(acknowledged.store, None)
        stores[acknowledged.store] = acknowledged.upto, now_s
        if len(stores) == 1:
            return acknowledged
        for name in [name for name, (_, heard_s) in stores.items() if now_s - heard_s > self._forgotten_s]:
            del stores[name]
        if len(stores) > MOST_STORES:
            del stores[next(iter(stores))]
        return replace(acknowledged, upto=min(upto for upto, _ in stores.values()))

    def text(self) -> str:
        """`store:upto,store:upto`, to be kept; empty while there is one store."""
        return ",".join(f"{name}:{self._stores[name][0]}" for name in self.others if name)

    def restore(self, text: str, now_s: float) -> None:
        """What `text` gave; what cannot be read is left out."""
        if _TEXT.fullmatch(text):
            for part in text.split(",")[-MOST_STORES:]:
                name, _, upto = part.partition(":")
                self._stores[name] = int(upto), now_s
