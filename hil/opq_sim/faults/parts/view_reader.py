"""What View says over HTTP: the newest of each Box, findings, events, Measurements and measured shares.

It reads any store, and says what people and programs are told.
"""

import json
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any, Final

from opq_proto.kit.http_client import fetch

TIMEOUT_S: Final = 600.0
"""An export of all Measurements takes more than ten seconds on a busy machine."""
LARGEST_ANSWER_BYTES: Final = 1 << 26
PAGE: Final = 200
BESIDE_MS: Final = 20 * 86_400_000
"""A clock may be set by days."""


class ViewReader:
    """View at a port of this machine; each method raises OSError where it does not answer."""

    def __init__(self, port: int) -> None:
        self._place = f"http://127.0.0.1:{port}/api/v1"

    def boxes(self) -> dict[str, dict[str, Any]]:
        """What is shown of each Box."""
        return {str(each["box_id"]): each for each in self._get("boxes")["items"]}

    def findings(self) -> list[dict[str, Any]]:
        """Every finding, with its incident."""
        return self._pages("findings")

    def incidents(self) -> list[dict[str, Any]]:
        """Every incident."""
        return self._pages("incidents")

    def events(self) -> list[dict[str, Any]]:
        """Every event, without samples."""
        return self._pages("events")

    def measurements(self, box_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Every Measurement of these Boxes."""
        now_ms = time.time_ns() // 1_000_000
        span = [("from", str(now_ms - BESIDE_MS)), ("to", str(now_ms + BESIDE_MS))]
        query = [("box", box_id) for box_id in box_ids] + [("format", "json"), *span]
        found = self._get(f"exports/measurements?{urllib.parse.urlencode(query)}")
        return list(found["measurements"])

    def _pages(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            query = {"limit": PAGE, **({} if cursor is None else {"cursor": cursor})}
            page = self._get(f"{name}?{urllib.parse.urlencode(query)}")
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                return found

    def _get(self, path: str) -> Any:
        return json.loads(fetch(f"{self._place}/{path}", TIMEOUT_S, LARGEST_ANSWER_BYTES))


def newly_shown(view: ViewReader, box_ids: Sequence[str]) -> Callable[[], str | None]:
    """Makes a condition of a world: each Box has a Measurement that was not there before."""
    before: dict[str, Any] | None = None

    def objection() -> str | None:
        nonlocal before
        try:
            now = {box_id: each["measurement"] for box_id, each in view.boxes().items()}
        except OSError as error:
            return f"View does not answer: {error}"
        if before is None:
            before = now
        late = [box_id for box_id in box_ids if now.get(box_id) in (None, before.get(box_id))]
        return f"nothing new of Boxes {', '.join(late)}" if late else None

    return objection
