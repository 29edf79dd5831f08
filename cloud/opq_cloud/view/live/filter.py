"""Filters of the live feed: `?box=1,4`, `?region=north`, `?rate=1`; for a page `?values=1,4`.

Pure except for the injected clock. A filter is applied after `SeenFeed`: it never shows more than that.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from opq_cloud.view.live.feed_messages import LiveMessage
from opq_cloud.view.live.feed_streams import Shown

RATES = (0.01, 100.0)
"""Measurements a second per Box."""
MAX_BOXES = 1000
REGION_CHARACTERS = 100
ALL_BOXES = "*"
"""Stands for all Boxes; no Box has this id."""
ALIKE_KEPT = 128
"""Sets of Boxes that pages show; one of 100 Boxes takes 13 kB, which pages would otherwise not share."""


@dataclass(slots=True)
class LiveFilter:
    """Boxes (None: all) and the least time between two Measurements of one."""

    boxes: frozenset[str] | None = None
    between_s: float = 0.0
    monotonic_s: Callable[[], float] = time.monotonic
    _sent_s: dict[str, float] = field(default_factory=dict)

    def passes(self, message: LiveMessage) -> bool:
        """Whether a message passes; a removed incident always does: pages that show it must remove it."""
        if message.event == "measurement":
            return self._wants(message.box_id) and self._due(message.box_id)
        if message.incident is None or message.event == "incident_gone":
            return True
        return any(map(self._wants, message.incident.box_ids))

    def after(self, shown: Shown) -> Shown:
        """A filter that applies `shown` first, then this one."""

        def both(message: LiveMessage) -> LiveMessage | None:
            part = shown(message)
            return part if part is not None and self.passes(part) else None

        return both

    def _wants(self, box_id: str) -> bool:
        return self.boxes is None or box_id in self.boxes

    def _due(self, box_id: str) -> bool:
        if not self.between_s:
            return True
        now_s = self.monotonic_s()
        if now_s - self._sent_s.get(box_id, float("-inf")) < self.between_s:
            return False
        self._sent_s[box_id] = now_s
        return True


def read_live_filter(query: Mapping[str, str], region_boxes: Callable[[str], Iterable[str]]) -> LiveFilter:
    """Reads a filter from an address.

    Args:
        region_boxes: the Boxes of a region that the visitor may see.
    Raises:
        ValueError: in words for people, where a value is not allowed.
    """
    boxes: frozenset[str] | None = None
    if "box" in query:
        boxes = frozenset(each.strip() for each in query["box"].split(",")) - {""}
        if not 0 < len(boxes) <= MAX_BOXES:
            raise ValueError(f"box names {len(boxes)} Boxes; want 1 to {MAX_BOXES}, such as box=1,4")
    if "region" in query:
        region = query["region"]
        if not 0 < len(region) <= REGION_CHARACTERS:
            raise ValueError(f"region has {len(region)} characters; want 1 to {REGION_CHARACTERS}")
        inside = frozenset(region_boxes(region))
        if not inside:
            raise ValueError(f"there is no region {region!r} that you may see")
        boxes = inside if boxes is None else boxes & inside
    return LiveFilter(boxes, _between_s(query["rate"]) if "rate" in query else 0.0)


def read_page_boxes(query: Mapping[str, str]) -> frozenset[str] | None:
    """The Boxes that a page shows: `values=1,4`, none by `values=`, all by `values=*` (None).

    Raises:
        ValueError: in words for people, where a value is not allowed.
    """
    beside = [name for name in ("box", "region", "rate") if name in query]
    if beside:
        raise ValueError(f"give values or {beside[0]}: a page gets all that it shows once a second")
    if query["values"] == ALL_BOXES:
        return None
    return _named_boxes(query["values"])


@lru_cache(ALIKE_KEPT)
def _named_boxes(values: str) -> frozenset[str]:
    """One set for all pages that show the same Boxes."""
    boxes = frozenset(each.strip() for each in values.split(",")) - {""}
    if len(boxes) > MAX_BOXES:
        raise ValueError(f"values names {len(boxes)} Boxes; want at most {MAX_BOXES}, or {ALL_BOXES} for all")
    return boxes


def _between_s(text: str) -> float:
    least, most = RATES
    try:
        rate = float(text)
    except ValueError:
        rate = float("nan")
    if not least <= rate <= most:
        raise ValueError(f"rate is {text[:20]!r}; want {least} to {most:g} Measurements a second per Box")
    return 1.0 / rate
