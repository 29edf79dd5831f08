"""What a Measurement says of supplies: metrics beside the original's four, which its readers pass over.

`supply_v` and `battery_v` are a Box's own, as in its Health; `gateway_supply` is 0 while that of the gateway
fails. They stand in each Measurement while a supply is low, in the first after, and of a Box with a battery
once a minute (`SupplyTeller`). `restart_cause`: whether a Box began again for want of its supply. Apart from
`messages.py`: gateways, simulated ones too, and cloud need them.
"""

from collections.abc import Mapping
from enum import StrEnum

from opq_proto.log_codes import RESET_CAUSES
from opq_proto.messages import Metric

SUPPLY, BATTERY, GATEWAY = "supply_v", "battery_v", "gateway_supply"
SUPPLY_METRICS = frozenset((SUPPLY, BATTERY, GATEWAY))
RESTART = "restart_cause"
"""A code of `log_codes.RESET_CAUSES`, in the first Measurements after a start that the gateway heard."""
SUPPLIED_CAUSES = ("pin", "software", "watchdog")
"""Of a start; the supply was there."""
WELL_EVERY_NS = 60 * 10**9
"""So often a Measurement says that a Box with a battery has its supply; each says so when it has not."""
SUPPLY_LOW_V = 4.4
"""The firmware's `supply_low_v` (test_one_fact.py)."""


class SupplyWord(StrEnum):
    """What a Box reports of its own supply and of its gateway's."""

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


def supplied_restart(metrics: Mapping[str, Metric]) -> str:
    """Why the Box had begun again, where its supply was there: one of SUPPLIED_CAUSES; else empty."""
    said = metrics.get(RESTART)
    cause = "" if said is None else RESET_CAUSES.get(said.average, "")  # type: ignore[call-overload]
    return cause if cause in SUPPLIED_CAUSES else ""


class SupplyTeller:
    """Which Measurements of a Box say how its supply is: while one is low, at a change, now and then."""

    def __init__(self) -> None:
        self._word: SupplyWord | None = None
        self._due_ns = 0

    def metrics(
        self,
        end_ns: int,
        supply_v: float | None,
        battery_v: float | None,
        gateway_failing: bool | None = None,
    ) -> dict[str, Metric]:
        """What the Measurement that ends then says, in the order of time; empty: nothing.

        Args:
            supply_v, battery_v: as the Box's Health says them, V; None: it does not know, has no battery.
            gateway_failing: whether its gateway's own supply fails; None: nobody tells it.
        """
        said = {} if gateway_failing is None else {GATEWAY: float(not gateway_failing)}
        if supply_v is not None:
            said |= {SUPPLY: supply_v} | ({} if battery_v is None else {BATTERY: battery_v})
        metrics = {name: Metric(value, value, value) for name, value in said.items()}
        word = supply_word(metrics)
        due = word is not None and (word is not SupplyWord.WELL or end_ns >= self._due_ns)
        if word == self._word and not due:
            return {}
        self._word, self._due_ns = word, end_ns + WELL_EVERY_NS
        return metrics
