"""The gain of each Box: what its answers say goes into the store, what they do not say comes from there."""

from opq_cloud.store.store import BoxRecord, CloudStore
from opq_proto.wire import Response

LEAST_V, MOST_V = 1e-9, 1e9
"""A gain outside is none, or not finite."""


class Gains:
    """`opq_boxes.calibration_constant` = 1 / volts_per_lsb (contracts.md, Replay)."""

    def __init__(self, store: CloudStore, v_per_lsb_fallback: float) -> None:
        """Fallback: of a Box that is not calibrated, volts per count."""
        self._store = store
        self._fallback = v_per_lsb_fallback
        self._known: dict[str, float] = {}

    def v_per_lsb(self, box_id: str) -> float:
        """Of a Box that does not send it: from the store's calibration, else the configured one."""
        record = self._store.box(box_id)
        if record is not None and record.calibration_constant:
            return 1 / record.calibration_constant
        return self._fallback

    def learn(self, box_id: str, response: Response) -> None:
        """Store what the Box says of its gain, when that is new."""
        header = response.get_data_response
        if not header.HasField("volts_per_lsb") or not LEAST_V < header.volts_per_lsb < MOST_V:
            return
        constant = 1 / header.volts_per_lsb
        if self._known.get(box_id) == constant:
            return
        record = self._store.box(box_id) or BoxRecord(box_id, f"Box {box_id}")
        if record.calibration_constant != constant:  # alone: another thread may be writing the rest
            self._store.put_box(
                BoxRecord(box_id, record.name, calibration_constant=constant, unplugged=record.unplugged)
            )
        self._known[box_id] = constant
