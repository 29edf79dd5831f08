"""What a Measurement says of supplies: metrics beside the original's four, which its readers pass over.

`supply_v` and `battery_v` are a Box's own, as in its Health; `gateway_supply` is 0 while that of the gateway
fails. They stand in each Measurement while a supply is low, in the first after, and of a Box with a battery
once a minute. Apart from `messages.py`: gateway and cloud need the same words, and nobody else does.
"""

from collections.abc import Mapping
from enum import StrEnum

from opq_proto.messages import Metric

SUPPLY, BATTERY, GATEWAY = "supply_v", "battery_v", "gateway_supply"
SUPPLY_METRICS = frozenset((SUPPLY, BATTERY, GATEWAY))
SUPPLY_LOW_V = 4.4
"""The firmware's `supply_low_v` (test_one_fact.py)."""


class SupplyWord(StrEnum):
    """Of a Box's supply, and of its gateway's."""

    WELL = "well"
    """And there is a battery: without one nobody could have said that it is lost."""
    ON_BATTERY = "on_battery"
    FAILING = "failing"
    """Low, and no battery is fitted."""
    GATEWAY_FAILING = "gateway_failing"


def supply_word(metrics: Mapping[str, Metric]) -> SupplyWord | None:
    """The worst that a Measurement says, the Box's own before its gateway's; None: nothing."""
    supply, gateway = metrics.get(SUPPLY), metrics.get(GATEWAY)
    if supply is not None and supply.average < SUPPLY_LOW_V:
        return SupplyWord.ON_BATTERY if BATTERY in metrics else SupplyWord.FAILING
    if gateway is not None and gateway.average < 1:
        return SupplyWord.GATEWAY_FAILING
    return SupplyWord.WELL if supply is not None and BATTERY in metrics else None
