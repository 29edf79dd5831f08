"""Makes the uplink and its queue from the configuration."""

from collections.abc import Callable, Mapping
from functools import partial

from opq_gateway.config import Config, box_folder, data_folder
from opq_gateway.counters import BoxCounters
from opq_gateway.uplink.box_uplink import UplinkTimeouts
from opq_gateway.uplink.clock_ids import ClockIds
from opq_gateway.uplink.connection import Endpoints, Timing, UplinkPlace, UplinkPlaces
from opq_gateway.uplink.queue import Queue
from opq_gateway.uplink.uplink import Uplink

IN_ORDER_S = 5.0
"""Where the order is kept, a new Measurement waits at most this long for older Measurements."""


def queue_of(config: Config, counters: Mapping[str, BoxCounters]) -> Queue:
    """The queue in D/gateway/queue.sqlite; the caller closes it after the uplink has ended."""
    uplink = config.uplink
    path = data_folder(config) / "queue.sqlite"
    return Queue(path, counters, uplink.queue_hours, uplink.queue_mb * 1_000_000)


def places_of(config: Config, server_key: bytes) -> UplinkPlaces:
    """Where the Boxes' uplinks go."""
    uplink = config.uplink
    endpoints = Endpoints(
        uplink.trigger_endpoint or "", uplink.command_endpoint or "", uplink.response_endpoint or ""
    )
    return UplinkPlaces(UplinkPlace(endpoints, server_key), partial(box_folder, config))


def uplink_of(
    config: Config, places: UplinkPlaces, queue: Queue, on_command: Callable[[str, bytes], None]
) -> Uplink:
    """The uplink, still without Boxes; the caller adds them."""
    uplink = config.uplink
    return Uplink(
        places,
        queue,
        uplink.queue_messages,
        on_command,
        Timing.of(uplink.heartbeat_s, uplink.idle),
        UplinkTimeouts(
            uplink.unacknowledged_s,
            uplink.resend_s,
            uplink.in_flight_s,
            round(IN_ORDER_S * uplink.backfill_per_s),
        ),
        uplink.backfill_per_s,
        config.idle if uplink.idle else None,
        uplink.crossings,
        ClockIds(data_folder(config) / "clock_id"),
    )
