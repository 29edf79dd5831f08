"""The contents of the set-up page: Wi-Fi, Boxes, last values, counters; and a Box in the original's terms.

Nothing here opens, starts or changes anything, or reads a secret key.
"""

import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from opq_gateway.config import Config
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import Item, MeasuredFeed, Values
from opq_gateway.setup.saved import settings_of
from opq_gateway.setup.wifi import Wifi
from opq_gateway.software_version import software_version
from opq_proto.kit.channel import Channel
from opq_proto.messages import known_uncertainty_ns

ROWS_WAITING = 50
"""Most values per Box that wait for the page; only the newest are shown."""
ORDINARY_GAPS = frozenset(
    {
        *(
            "serial_opened",
            "serial_bytes",
            "frames",
            "hello",
            "log_lines",
            "ring_blocks",
            "ring_sealed_segments",
        ),
        *("ring_saved_bytes", "ring_deleted_segments", "samples", "measurements", "values"),
        *(
            "box_figures_checked",
            "measurements_sent",
            "measurements_idle",
            "crossings_sent",
            "uplink_connected",
        ),
        *("commands", "responses_sent", "acknowledgements", "orders_done", "phasor_frames", "phasor_clients"),
        *("mqtt_connected", "mqtt_published", "setup_saved"),
    }
)
"""Counters that also rise when all is well; the page shows the others."""
SHOWN_QUANTITIES = ("rms_v", "f_hz", "thd_ratio", "pst")


def version_number(text: str) -> int:
    """Our version as the original's whole number: 1.2.3 -> 10203."""
    parts = [int(part) for part in text.split(".")[:3] if part.isdecimal()]
    major, minor, patch = (*parts, 0, 0, 0)[:3]
    return major * 10_000 + minor * 100 + patch


class SetupState:
    """Reads the gateway's state when the page requests it."""

    def __init__(
        self,
        config: Config,
        statuses: Mapping[str, BoxStatus],
        counters: Mapping[str, BoxCounters],
        public_keys: Mapping[str, str],
        feed: MeasuredFeed,
        wifi: Wifi | None,
    ) -> None:
        """`public_keys`: those of the Boxes by id, and the server's under ""; Z85."""
        self._config = config
        self._statuses = statuses
        self._counters = counters
        self._public_keys = public_keys
        self._wifi = wifi
        self._channel: Channel[Item] = feed.subscribe(
            "set-up page", (Values,), max(1000, ROWS_WAITING * len(statuses))
        )
        self._lock = threading.Lock()
        self._newest: dict[str, dict[str, tuple[int, Any]]] = {}

    def state(self) -> dict[str, Any]:
        """Everything that changes, for `/state`; from any thread."""
        with self._lock:
            self._receive()
        now_s = time.monotonic()
        return {
            "time_ns": time.time_ns(),
            "host": socket.gethostname(),
            "version": software_version(),
            "wifi": None if self._wifi is None else self._wifi_state(self._wifi),
            "boxes": [self._box(status, now_s) for status in self._statuses.values()],
            "settings": settings_of(self._config),
        }

    def box_config(self, box_id: str | None = None) -> dict[str, Any]:
        """A Box in the original's terms (docs/reference/opq-interop.md G.1), without its secret key.

        Raises:
            KeyError: no such Box.
        """
        box_id = box_id or self._config.box[0].id
        box = next((box for box in self._config.box if box.id == box_id), None)
        if box is None:
            raise KeyError(box_id)
        status = self._statuses[box_id]
        return {
            **settings_of(self._config),
            "box_id": int(box_id),
            "server_public_key": self._public_keys[""],
            "box_public_key": self._public_keys[box_id],
            "device_path": box.port,
            "calibration": None if status.hello is None else 1 / status.hello.v_per_lsb,
            "windows_in_storage_buffer": round(self._config.ring_hours * 3600 * 60),
            "plugins": [],
        }

    def _receive(self) -> None:
        for item in self._channel.take_all():
            if isinstance(item, Values):
                known = self._newest.setdefault(item.box_id, {})
                for name in SHOWN_QUANTITIES:
                    if name in item.values:
                        known[name] = (item.end_ns, item.values[name])

    @staticmethod
    def _wifi_state(wifi: Wifi) -> dict[str, Any]:
        return {"state": wifi.state, "problem": wifi.problem or None}

    def _box(self, status: BoxStatus, now_s: float) -> dict[str, Any]:
        hello, health, gps = status.hello, status.health, status.gps
        newest = self._newest.get(status.box_id, {})
        values = {name: {"end_ns": end_ns, "value": value} for name, (end_ns, value) in newest.items()}
        return {
            "id": status.box_id,
            "problem": status.problem(now_s),
            "hardware": hello.hardware if hello else None,
            "firmware": hello.firmware if hello else None,
            "nominal_v": hello.nominal_v if hello else None,
            "time_source": None if status.sample_source is None else status.sample_source.name.lower(),
            "uncertainty_ns": known_uncertainty_ns(status.sample_uncertainty_ns),
            "clock": gps.state.name.lower() if gps else None,
            "satellites": gps.satellites if gps else None,
            "supply_v": health.supply_v if health else None,
            "battery_v": health.battery_v if health else None,
            "temperature_c": health.temperature_c if health else None,
            "values": values,
            "counters": {
                name: count
                for name, count in self._counters[status.box_id].snapshot().items()
                if count and name not in ORDINARY_GAPS
            }
            | {f"box_lost_{name}": count for name, count in status.lost.items() if count},
        }
