"""The collection `health`: the original's documents, in both stores."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.config import HealthSection
from opq_cloud.health.collector import HealthCollector
from opq_cloud.health.readings import Answer
from opq_cloud.store import open_store
from opq_cloud.store.records.accounts import HEALTH


def recorded(shared: CloudContext, folder: Path) -> None:
    """One time, with an old document there."""
    collector = HealthCollector(HealthSection(), shared, [], folder, folder / "key", None)
    now = datetime.now(UTC)
    hours = int((now - timedelta(hours=2)).timestamp() * 1000)
    shared.store.people.documents.add_all(HEALTH, {f"{hours:013d}.0": {"service": "OLD"}}, "")
    part = {"name": "makai", "ok": False, "timestamp": int(now.timestamp()), "info": "no store"}
    box = {"name": "12", "ok": True, "timestamp": int(now.timestamp())}
    collector._shares = {"12": 0.987}
    collector._record([Answer("makai", {**part, "subcomponents": [box]}), Answer("view", None, "refused")])


EXPECTED = {
    ("HEALTH", "", "UP", ""),
    ("MAKAI", "", "DOWN", "no store"),
    ("BOX", "12", "UP", "measured 98.7% of the last hour"),
    ("VIEW", "", "DOWN", "refused"),
}


def test_the_collection_health_has_the_originals_documents(tmp_path: Path) -> None:
    with closing(CloudContext(lambda: open_store(None, tmp_path))) as shared:
        recorded(shared, tmp_path)
        found = shared.store.people.documents.find(HEALTH)
    assert {(each["service"], each["serviceID"], each["status"], each["info"]) for each in found} == EXPECTED
    assert all(datetime.fromisoformat(each["timestamp"]).tzinfo is not None for each in found)


def test_mongo_has_them_with_a_date(mongo_uri: str, tmp_path: Path) -> None:
    with closing(CloudContext(lambda: open_store(mongo_uri, tmp_path))) as shared:
        recorded(shared, tmp_path)
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        found = list(client.get_default_database().health.find({}))
    assert {(each["service"], each["serviceID"], each["status"], each["info"]) for each in found} == EXPECTED
    assert all(isinstance(each["timestamp"], datetime) for each in found)
