"""A store that the code of commit 94e2f4c6 made opens with all that is in it, and takes what comes next."""

from pathlib import Path

from store_before import NS, S, described, packed, restored

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.incidents.index import IncidentFilter
from opq_proto.messages import Finding


def test_an_older_store_opens_complete(tmp_path: Path) -> None:
    dump, holds = next((dump, holds) for name, dump, holds in packed() if name == "embedded")
    restored(str(tmp_path), dump)
    _check(open_store(None, tmp_path), holds)


def test_an_older_mongo_store_opens_complete(mongo_uri: str, tmp_path: Path) -> None:
    dump, holds = next((dump, holds) for name, dump, holds in packed() if name == "mongo")
    restored(mongo_uri, dump)
    _check(open_store(mongo_uri, tmp_path), holds)


def _check(store: CloudStore, holds: dict[str, object]) -> None:
    found = described(store)
    assert found.keys() == holds.keys()
    for name, value in holds.items():
        assert found[name] == value, name
    before = store.incidents(limit=1)[0]
    later = Finding("sag", "9", NS + 10**6, NS + S // 10, 1000, True, 84.1, 70.0, 6.0, confidence=0.9)
    event_id = store.unfinished_events()[0].event_id
    (stored,) = put_findings(store, event_id, [later])
    assert stored.finding_id == 6, "numbers go on where they were"
    assert store.finish_event(event_id) and store.mark_analysed(event_id)
    assert stored.incident_id in [
        each.incident_id for each in store.find_incidents(IncidentFilter("", "9"), 9)
    ]
    assert store.incident(before.incident_id) == before or before.incident_id == stored.incident_id
    store.close()
