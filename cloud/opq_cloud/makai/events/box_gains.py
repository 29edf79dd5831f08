"""Gains of Boxes: stored from their answers, and read from the store for answers without a gain."""

from collections.abc import Callable

from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.store.box_record import BoxRecord, box_order
from opq_cloud.store.store import CloudStore
from opq_cloud.store.unknown_gain import gain_advice, gain_command
from opq_proto.kit import log
from opq_proto.wire.frames import Response

_log = log.get(service="event-service")

MIN_GAIN_V = 1e-9
"""A smaller gain, in volts per count, is invalid."""
MAX_GAIN_V = 1e9
"""A larger gain is invalid, as is one that is not finite."""


class BoxGains:
    """Keeps the gain that a Box's answers state in the store; for answers without a gain it comes from there.

    `opq_boxes.calibration_constant` = 1 / volts_per_lsb (docs/reference/contracts.md, Replay).
    """

    def __init__(
        self, store: Callable[[], CloudStore], v_per_lsb_fallback: float | None, counters: ServiceCounters
    ) -> None:
        """`v_per_lsb_fallback`: volts per count of a Box that is not calibrated; None: unknown."""
        self._store = store
        self._fallback = v_per_lsb_fallback
        self._counters = counters
        self._uncalibrated: frozenset[str] = frozenset()
        self._warned: set[str] = set()

    def v_per_lsb(self, box_id: str, t_ns: int) -> float | None:
        """The gain at a moment of a Box that does not send it: the store's calibration, else the configured
        one. None: it is not stated.
        """
        record = self._store().box(box_id)
        constant = None if record is None else record.at(t_ns).calibration_constant
        if constant:
            self._uncalibrated -= {box_id}
            self._warned.discard(box_id)
            return 1 / constant
        self._uncalibrated |= {box_id}
        return self._fallback

    def read_response(self, box_id: str, response: Response) -> None:
        """Stores the gain in an answer when it is new; warns when it is unknown. Call after `v_per_lsb`."""
        header = response.get_data_response
        if not header.HasField("volts_per_lsb") or not MIN_GAIN_V < header.volts_per_lsb < MAX_GAIN_V:
            if box_id in self._uncalibrated:
                self._warn(box_id)
            return
        self._uncalibrated -= {box_id}
        constant = 1 / header.volts_per_lsb
        record = self._store().box(box_id)
        if record is None or record.calibration_constant != constant:
            self._store().put_box(BoxRecord(box_id, "", calibration_constant=constant))  # others stay

    def health(self) -> list[HealthReport]:
        """Returns a line per Box whose last waveform had no gain; not ok where none is configured either."""
        return [
            HealthReport(f"gain of Box {box_id}", self._fallback is not None, info=self._advice(box_id))
            for box_id in sorted(self._uncalibrated & self._warned, key=box_order)
        ]

    def _warn(self, box_id: str) -> None:
        self._counters.add("waveforms_scaled_by_fallback", label=box_id)
        if box_id not in self._warned:
            self._warned.add(box_id)
            _log.warning("box.gain_unknown", box_id=box_id, advice=self._advice(box_id))

    def _advice(self, box_id: str) -> str:
        if self._fallback is None:
            return gain_advice(box_id)
        return (
            f"its own is unknown: {1 / self._fallback:g} counts per volt are used, as configured "
            f"(event_service.v_per_lsb_fallback); state it with `{gain_command(box_id)}`"
        )
