"""Stored events of two Boxes with one sag each."""

import numpy as np

from opq_cloud.store import CloudStore
from opq_proto.messages import TimeSource, Trigger, Waveform


def put_events(store: CloudStore, count: int, first: int = 0) -> None:
    """`count` events a minute apart, each of two Boxes with one sag: two findings, one incident."""
    t_s = np.arange(12_000) / 12_000
    volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * t_s)
    volts[6_000:7_200] *= 0.6
    counts = np.round(volts / 0.0068).astype(np.int16)
    for number in range(first, first + count):
        start_ns = 1_700_000_000_000_000_000 + number * 60 * 10**9
        span = (start_ns, start_ns + 10**9)
        event_id = store.open_event(Trigger(f"token{number}", *span, ("1", "2"), "1", "test"), "test")
        for box_id in ("1", "2"):
            wave = Waveform(
                box_id, start_ns, 1_000_000, TimeSource.NTP, 12_000_000, 0.0068, number * 720_000, counts
            )
            store.put_waveform(event_id, wave)
        store.finish_event(event_id)
