"""Measuring as the configuration wants it: every Box with its ledger, groups with theirs."""

from collections.abc import Mapping

from opq_gateway.config import Config, box_folder, data_folder
from opq_gateway.counters import Counters
from opq_gateway.measuring.box_meter import Plan
from opq_gateway.measuring.feed import Feed
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.measuring.measuring import Measuring
from opq_gateway.measuring.phasor_source import PhasorPlan
from opq_gateway.status import Status
from opq_gateway.uplink.uplink import Uplink
from opq_measure.events.limits import Limits
from opq_measure.synchrophasor.filter import PmuClass
from opq_proto.errors import ConfigError, OpqError


def measuring_of(
    config: Config,
    statuses: Mapping[str, Status],
    counters: Mapping[str, Counters],
    uplink: Uplink,
    feed: Feed,
) -> Measuring:
    """Not started yet.

    Raises:
        ConfigError: thresholds that cannot all hold, a group of Boxes that are not configured.
        OpqError: a folder cannot be made.
    """
    wanted = config.measuring
    keep = wanted.windows_hours, wanted.values_days
    try:
        limits = Limits(
            wanted.dip_percent, wanted.swell_percent, wanted.interruption_percent, wanted.hysteresis_percent
        )
    except ValueError as error:
        raise ConfigError(f"measuring: {error}, nothing was started") from error
    asked = config.phasors
    phasors = None
    if asked.endpoint is not None:
        phasors = PhasorPlan(asked.reports_per_s, PmuClass(asked.pmu_class))
    for group in config.group:
        strangers = sorted(set(group.boxes) - statuses.keys())
        if strangers or len(set(group.boxes)) < 3:
            told = f"no [[box]] has id {', '.join(strangers)}" if strangers else "wants three different Boxes"
            raise ConfigError(f"group {group.name}: {told}, nothing was started")
    try:
        places = {
            group.name: Ledger(data_folder(config) / f"group-{group.name}", group.name, *keep)
            for group in config.group
        }
        measuring = Measuring(uplink.publish, uplink.crossing, feed, config.group, places)
        for box_id, status in statuses.items():
            plan = Plan(
                box_id,
                nominal_v=120.0,
                nominal_hz=60.0,
                cycles=config.measurement_cycles,
                send=config.uplink.send,
                limits=limits,
                flicker=wanted.flicker,
                phasors=phasors,
            )
            ledger = Ledger(box_folder(config, box_id) / "ledger", box_id, *keep)
            measuring.add(plan, counters[box_id], status, ledger)
    except OSError as error:
        raise OpqError(f"gateway: {error.filename} cannot be used: {error.strerror or error}") from error
    return measuring
