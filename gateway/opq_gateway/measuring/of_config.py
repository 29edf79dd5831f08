"""Measuring as the configuration wants it: every Box with its ledger, groups with theirs."""

from collections.abc import Callable, Mapping
from functools import partial

from opq_gateway.config import Config, box_folder, data_folder
from opq_gateway.counters import Counters
from opq_gateway.measuring.backlog import Backlog, backlog_of
from opq_gateway.measuring.box_meter import Plan
from opq_gateway.measuring.feed import Feed
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.measuring.measurements import METRICS
from opq_gateway.measuring.measuring import Measuring
from opq_gateway.measuring.phasor_source import PhasorPlan
from opq_gateway.ring.ring import Ring
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
    rings: Mapping[str, Ring],
    last_end_ns: Callable[[str], int | None],
) -> Measuring:
    """Not started yet; `last_end_ns` says up to where a Box's Measurements were queued.

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
    unknown = sorted(set(config.uplink.send) - METRICS)
    if unknown:
        told = "there are rms f thd trans h2 .. h50 rocof pst unbalance"
        raise ConfigError(f"uplink.send: {', '.join(unknown)}: not known; {told}, nothing was started")
    held = {box_id: ring.segments() for box_id, ring in rings.items()}
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

        def backlog(box_id: str) -> Backlog | None:
            return backlog_of(rings[box_id], held[box_id], partial(last_end_ns, box_id))

        measuring = Measuring(uplink.publish, uplink.crossing, feed, config.group, places, backlog)
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
