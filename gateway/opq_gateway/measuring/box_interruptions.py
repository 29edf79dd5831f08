"""BoxInterruptions: a Box's Measurements report its missing samples, its starts and its supply."""

from dataclasses import replace

from opq_gateway.blocks import SampleBlock, boot_id_of
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.continuity import Continuity, is_disciplined
from opq_gateway.measuring.measurements import Measured
from opq_proto.link.log_codes import RESET_CAUSES
from opq_proto.link.messages import Log
from opq_proto.measurement.continuity import (
    DARK_CAUSES,
    FLAGGED,
    RESTART,
    TOUCHES_GAP,
    GapReason,
    missing_s,
    single,
)
from opq_proto.measurement.supply_word import SUPPLY_LOW_V, SupplyTeller, SupplyWord
from opq_proto.messages import Gap, Measurement

RESTART_SAID = 5
"""Measurements after a start that report its cause; some of them are still from before the start."""
BOOT_BITS = 0x7FFF_FFFF
"""A Box's log line has its boot id as a signed integer."""


class BoxInterruptions:
    """Belongs to one Box; called from the measuring thread alone."""

    def __init__(self, status: BoxStatus) -> None:
        self._status = status
        self._supply = SupplyTeller()
        self._started: Log | None = None
        self._restart_left = 0
        self._continuity = Continuity(self._reason_of_start)

    def restart(self) -> None:
        """The Box's sample indices begin again."""
        if self._started is not self._status.started:
            self._started, self._restart_left = self._status.started, RESTART_SAID

    def accept_gap(self, gap: Gap) -> None:
        """Samples are missing, with the reason that the serial side found."""
        self._continuity.accept_gap(gap)

    def accept_break(self, meter: int, before: SampleBlock, block: SampleBlock) -> None:
        """Two blocks do not follow each other; `meter` is the number of the second block's meter."""
        supplied = self._supply.word not in (SupplyWord.ON_BATTERY, SupplyWord.FAILING) and not self._is_low()
        start_id, silent_s = self._status.silent_before or (None, None)
        known_s = silent_s if start_id == block.start_id else None
        self._continuity.accept_break(meter, before, block, supplied, known_s)

    def with_causes(self, measurement: Measurement) -> Measurement:
        """A live Measurement with the states of the Box's and the gateway's supply where they have to be
        reported, and with the cause of a recent restart of the Box."""
        health = self._status.health
        volts = (None, None) if health is None else (health.supply_v, health.battery_v)
        added = self._supply.metrics(measurement.end_ns or 0, *volts, self._status.gateway_failing)
        if self._started is not None and self._restart_left:
            self._restart_left -= 1
            added = {**added, RESTART: single(float(self._started.b))}
        return replace(measurement, metrics={**measurement.metrics, **added}) if added else measurement

    def with_gaps(self, measured: Measured, meter: int) -> Measurement:
        """The measurement with the gap before it; it is flagged after missing samples."""
        measurement = measured.measurement
        found = self._continuity.metrics(meter, measured.end_sample, is_disciplined(measurement))
        if not found:
            return measurement
        if missing_s(found):
            flags = int(measurement.metrics[FLAGGED].max) if FLAGGED in measurement.metrics else 0
            found[FLAGGED] = single(flags | TOUCHES_GAP)
        return replace(measurement, metrics={**measurement.metrics, **found})

    def _is_low(self) -> bool:
        """Whether the Box reports that its supply is low."""
        health = self._status.health
        return health is not None and health.supply_v is not None and health.supply_v < SUPPLY_LOW_V

    def _reason_of_start(self, start_id: int) -> GapReason | None:
        """Why the Box did not sample before this start, from its log or health; None: not known (yet)."""
        boot_id = boot_id_of(start_id)
        started, health = self._status.started, self._status.health
        if started is not None and started.a & BOOT_BITS == boot_id & BOOT_BITS:
            cause = RESET_CAUSES.get(started.b, "")
        elif health is not None and self._status.hello is not None and self._status.hello.boot_id == boot_id:
            cause = RESET_CAUSES.get(health.reset_cause, "")
        else:
            return None
        return GapReason.DARK if cause in DARK_CAUSES else GapReason.RESTART
