"""What a Measurement reports of supplies: metrics in addition to the original's four; original readers skip
them.

`supply_v` and `battery_v` are a Box's own, as in its Health; `gateway_supply` is 0 while the gateway's supply
fails. They are in each Measurement while a supply is low, in the first one after, and once a minute for a Box
with a battery (`SupplyTeller`). This is separate from `messages.py`; gateways (also simulated ones) and the
cloud use it.
"""

from collections.abc import Mapping
from enum import StrEnum

from opq_proto.measurement.fields import remarks_about
from opq_proto.messages import Metric

SUPPLY = "supply_v"
"""Metric: voltage of the Box's supply."""
BATTERY = "battery_v"
"""Metric: voltage of the Box's battery."""
GATEWAY = "gateway_supply"
"""Metric: 0 while the gateway's supply fails."""
SUPPLY_METRICS = remarks_about("supply")
WELL_EVERY_NS = 60 * 10**9
"""Interval of Measurements that report the supply of a Box with a battery; all do so while it is low."""
SUPPLY_LOW_V = 4.4
"""The firmware's `supply_low_v` (test_device_constants.py)."""


class SupplyWord(StrEnum):
    """What a Box reports about its own supply and its gateway's."""

    WELL = "well"
    """The supply is present, and a battery is fitted: without one the Box could not report a lost supply."""
    ON_BATTERY = "on_battery"
    FAILING = "failing"
    """Low, and no battery is fitted."""
    GATEWAY_FAILING = "gateway_failing"


def supply_word(metrics: Mapping[str, Metric]) -> SupplyWord | None:
    """Returns the worst that a Measurement reports, the Box's supply before its gateway's; else None."""
    supply, gateway = metrics.get(SUPPLY), metrics.get(GATEWAY)
    if supply is not None and supply.average < SUPPLY_LOW_V:
        return SupplyWord.ON_BATTERY if BATTERY in metrics else SupplyWord.FAILING
    if gateway is not None and gateway.average < 1:
        return SupplyWord.GATEWAY_FAILING
    return SupplyWord.WELL if supply is not None and BATTERY in metrics else None


class SupplyTeller:
    """Decides which Measurements of a Box report supplies: while one is low, at a change, once a minute."""

    def __init__(self) -> None:
        self.word: SupplyWord | None = None
        """What was reported last."""
        self._due_ns = 0

    def metrics(
        self,
        end_ns: int,
        supply_v: float | None,
        battery_v: float | None,
        gateway_failing: bool | None = None,
    ) -> dict[str, Metric]:
        """Returns the supply metrics of the Measurement that ends then; called in the order of time.

        Args:
            supply_v, battery_v: from the Box's Health, V; None where unknown, or without a battery.
            gateway_failing: whether its gateway's own supply fails; None where unknown.
        """
        found = {} if gateway_failing is None else {GATEWAY: float(not gateway_failing)}
        if supply_v is not None:
            found |= {SUPPLY: supply_v} | ({} if battery_v is None else {BATTERY: battery_v})
        metrics = {name: Metric(value, value, value) for name, value in found.items()}
        word = supply_word(metrics)
        due = word is not None and (word is not SupplyWord.WELL or end_ns >= self._due_ns)
        if word == self.word and not due:
            return {}
        self.word, self._due_ns = word, end_ns + WELL_EVERY_NS
        return metrics
