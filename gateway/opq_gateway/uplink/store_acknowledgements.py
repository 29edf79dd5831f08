"""StoreAcknowledgements: holds one Box's Measurements until each store has them. Pure.

A Box that sends to two clouds with separate stores, for example while one replaces the other, receives
acknowledgements from both. One store may lack Measurements of the other, because it was away or its disk was
full. A store that has not acknowledged for FORGOTTEN_S counts as gone for good. The simulated fleet uses the
same rule.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from opq_gateway.uplink.backlog import CloudAcknowledgement

FORGOTTEN_S = 3600.0
"""A store that is silent for this long while another acknowledges is not waited for any more."""
MAX_STORES = 8
"""Most stores that are remembered; beyond it the store that was silent longest is forgotten."""
_TEXT = re.compile(r"[0-9a-z]{1,64}:\d{1,18}(,[0-9a-z]{1,64}:\d{1,18}){0,63}", re.ASCII)


class StoreAcknowledgements:
    """What each store has acknowledged of one Box; times are monotonic and handed in."""

    __slots__ = ("_forgotten_s", "_stores", "_taking", "_taking_losses")

    def __init__(self, forgotten_s: float = FORGOTTEN_S) -> None:
        self._forgotten_s = forgotten_s
        self._stores: dict[str, tuple[int, float]] = {}
        self._taking: set[str] = set()
        self._taking_losses: set[str] = set()

    @property
    def names(self) -> frozenset[str]:
        """Names of the stores that acknowledged something, where they have one."""
        return frozenset(name for name in self._stores if name)

    @property
    def take_intervals(self) -> bool:
        """Whether every store takes intervals, as its cloud stated on this connection."""
        return bool(self._stores) and self._taking >= self._stores.keys()

    @property
    def take_losses(self) -> bool:
        """The same of what a gateway lost of its intervals."""
        return bool(self._stores) and self._taking_losses >= self._stores.keys()

    def disconnected(self) -> None:
        """Another version of a cloud may come."""
        self._taking.clear()
        self._taking_losses.clear()

    @property
    def others(self) -> Iterable[str]:
        """Names of the stores, where there are several."""
        return tuple(self._stores) if len(self._stores) > 1 else ()

    def combine(self, acknowledged: CloudAcknowledgement, now_s: float) -> CloudAcknowledgement:
        """Accepts one store's acknowledgement and returns it with the lowest `upto` of all stores; its holes
        stay."""
        stores = self._stores
        stores.pop(acknowledged.store, None)
        stores[acknowledged.store] = acknowledged.upto, now_s
        for taking, takes in (
            (self._taking, acknowledged.takes_intervals),
            (self._taking_losses, acknowledged.takes_losses),
        ):
            (taking.add if takes else taking.discard)(acknowledged.store)
        if len(stores) == 1:
            return acknowledged
        for name in [
            name for name, (_, received_s) in stores.items() if now_s - received_s > self._forgotten_s
        ]:
            del stores[name]
        if len(stores) > MAX_STORES:
            del stores[next(iter(stores))]
        return replace(acknowledged, upto=min(upto for upto, _ in stores.values()))

    def text(self) -> str:
        """`store:upto,store:upto` for storage; empty while there is one store."""
        return ",".join(f"{name}:{self._stores[name][0]}" for name in self.others if name)

    def restore(self, text: str, now_s: float) -> None:
        """Restores the state from `text`; ignores a text that cannot be read."""
        if _TEXT.fullmatch(text):
            for part in text.split(",")[-MAX_STORES:]:
                name, _, upto = part.partition(":")
                self._stores[name] = int(upto), now_s
