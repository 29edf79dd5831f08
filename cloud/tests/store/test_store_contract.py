"""The contract of `store.Store` over all it keeps: what is due goes, the rest is there after a restart."""

import time
from collections.abc import Callable

from store_cases import NOW_MS, SAG, TRIGGER, measured, wave

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import CloudStore
from opq_proto.messages import Trend


def test_expired_data_go_in_slices_trends_stay(store: CloudStore) -> None:
    store.append_measurements([measured(n) for n in range(25)])
    event_id = store.open_event(TRIGGER, "x")
    store.put_waveform(event_id, wave())
    put_findings(store, event_id, [SAG])
    store.put_trends([Trend("1", NOW_MS // 60_000 * 60_000, {"rms": (1.0, 3.0, 2.0)})])
    now_s = int(time.time())
    assert store.expire(now_s) == 0
    week_s = now_s + 7 * 86_400
    assert _all(store, week_s, 10) == 25
    assert store.counts()["measurements"] == 0
    assert store.event_record(event_id) is not None, "an incident keeps its event"
    assert store.event(event_id) is not None
    _all(store, now_s + 400 * 86_400, 10)
    counts = store.counts()
    assert counts["trends"] == 1
    assert {counts[name] for name in ("measurements", "events", "box_events", "incidents", "fs.files")} == {0}


def _all(store: CloudStore, now_s: int, slice_rows: int) -> int:
    gone = 0
    while slice_gone := store.expire(now_s, slice_rows):
        gone += slice_gone
    return gone


def test_counts_name_the_original_collections(store: CloudStore) -> None:
    names = {"measurements", "trends", "events", "box_events", "incidents", "opq_boxes", "fs.files"}
    assert names <= set(store.counts())


def test_everything_is_there_after_a_restart(store: CloudStore, open_again: Callable[[], CloudStore]) -> None:
    store.append_measurements([measured(n) for n in range(5)])
    event_id = store.open_event(TRIGGER, "x")
    store.put_waveform(event_id, wave())
    put_findings(store, event_id, [SAG])
    store.close()
    again = open_again()
    assert again.append_measurements([measured(n) for n in range(6)]) == 1
    event = again.event(event_id)
    assert event is not None and len(event.waveforms) == 1
    assert len(again.incidents()) == 1
