"""Gauges: what rings, threads and the feed's readers have to show on `/metrics`."""

from collections.abc import Mapping

from opq_gateway.local.heartbeats import Heartbeats
from opq_gateway.local.metrics import Metrics
from opq_gateway.measuring.feed import Feed
from opq_gateway.ring.ring import Ring
from opq_gateway.status import Status

SAMPLE_BYTES = 2


def show_rings(metrics: Metrics, rings: Mapping[str, Ring], statuses: Mapping[str, Status]) -> None:
    """Bytes, span and compression of each ring."""

    def span_s(ring: Ring) -> float | None:
        span = ring.span()
        return None if span is None else (span.end_ns - span.start_ns) / 1e9

    def ratio(box_id: str, ring: Ring) -> float | None:
        hello, seconds, held_bytes = statuses[box_id].hello, span_s(ring), ring.file_bytes()
        if hello is None or not seconds or not held_bytes:
            return None
        return seconds * hello.rate_millihz / 1000 * SAMPLE_BYTES / held_bytes

    metrics.add(
        "ring_bytes",
        "what the ring takes of the disk",
        lambda: {box_id: float(ring.file_bytes()) for box_id, ring in rings.items()},
    )
    metrics.add(
        "ring_span_seconds",
        "from the oldest to the newest sample held",
        lambda: {box_id: span_s(ring) for box_id, ring in rings.items()},
    )
    metrics.add(
        "ring_compression_ratio",
        "bytes of the span as raw samples, over what the ring takes; gaps count as samples",
        lambda: {box_id: ratio(box_id, ring) for box_id, ring in rings.items()},
    )


def show_threads(metrics: Metrics, heartbeats: Heartbeats) -> None:
    """When each thread last came round its loop."""
    metrics.add("thread_age_seconds", "since the thread last came round", heartbeats.ages_s, "thread")


def show_feed(metrics: Metrics, feed: Feed) -> None:
    """What waits for each reader of the feed, and what it was too slow for."""
    metrics.add(
        "feed_waiting",
        "values that wait for this reader",
        lambda: {channel.name: float(len(channel)) for channel in feed.channels},
        "reader",
    )
    metrics.add(
        "feed_dropped",
        "values that this reader was too slow for; of the set-up page it means nobody looked",
        lambda: {channel.name: float(channel.dropped) for channel in feed.channels},
        "reader",
    )
