"""What a gateway reports about itself over HTTP: health and counters."""

import json
from dataclasses import dataclass
from typing import Any

from opq_proto.kit.http_client import fetch

TIMEOUT_S = 20.0


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
        health = json.loads(fetch(f"http://127.0.0.1:{port}/", TIMEOUT_S))
        metrics = fetch(f"http://127.0.0.1:{port}/metrics", TIMEOUT_S).decode()
    except (OSError, ValueError):
        return None
    boxes = {str(part["name"]): part for part in health.get("subcomponents") or ()}
    return GatewayReading(boxes, _counts(metrics))


def _counts(text: str) -> dict[tuple[str, str], float]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("opq_gateway_") or 'box_id="' not in line:
            continue
        name, _, rest = line.removeprefix("opq_gateway_").partition("{")
        box_id = rest.partition('box_id="')[2].partition('"')[0]
        found[name.removesuffix("_total"), box_id] = float(line.rpartition(" ")[2])
    return found
