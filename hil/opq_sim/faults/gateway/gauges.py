"""What a gateway reports about itself over HTTP: health, counters, and whether every Box's samples arrive.

Health calls a Box `sampling` for 5 s after its last block, which is as long as a plug may be out here. So the
counter of samples decides.
"""

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class GatewayReading:
    """One reading; `counts` by (counter, Box)."""

    boxes: dict[str, dict[str, Any]]
    counts: dict[tuple[str, str], float]

    def total(self, name: str) -> int:
        """The sum of a counter over all Boxes."""
        return round(sum(value for (counter, _), value in self.counts.items() if counter == name))


def read(port: int) -> GatewayReading | None:
    """Reads the gateway on `port`; None if it does not answer."""
    try:
        health = json.loads(_get(f"http://127.0.0.1:{port}/"))
        metrics = _get(f"http://127.0.0.1:{port}/metrics").decode()
    except (OSError, ValueError):
        return None
    boxes = {str(part["name"]): part for part in health.get("subcomponents") or ()}
    return GatewayReading(boxes, _counts(metrics))


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        return bytes(answer.read())


def _counts(text: str) -> dict[tuple[str, str], float]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("opq_gateway_") or 'box_id="' not in line:
            continue
        name, _, rest = line.removeprefix("opq_gateway_").partition("{")
        box_id = rest.partition('box_id="')[2].partition('"')[0]
        found[name.removesuffix("_total"), box_id] = float(line.rpartition(" ")[2])
    return found


COUNTER = "samples"


class SampleFlow:
    """Checks that every Box's counter of samples rises after the first reading."""

    def __init__(self, box_ids: Sequence[str]) -> None:
        self._lowest: dict[str, float] = {}
        self._box_ids = box_ids

    def objection(self, reading: GatewayReading | None) -> str | None:
        """What is still missing; None: samples of all Boxes came since the first reading."""
        if reading is None:
            return "it does not answer"
        still = []
        for box_id in self._box_ids:
            count = reading.counts.get((COUNTER, box_id), 0.0)
            lowest = self._lowest[box_id] = min(count, self._lowest.get(box_id, count))  # 0 after a new start
            if count <= lowest:
                still.append(box_id)
        return f"no samples of Boxes {', '.join(still)}" if still else None
