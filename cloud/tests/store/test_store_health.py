"""The collection `health`: the original's documents, in both stores; and health of a system on MongoDB."""

import os
import signal
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from house_under_test import processes_with, until
from pymongo import MongoClient
from store_cases import record_health
from watched_system import ALERT_S, running

from opq_cloud.core.service import CloudContext
from opq_cloud.store import open_store
from opq_cloud.store.records.accounts.account_records import HEALTH

EXPECTED = {
    ("HEALTH", "", "UP", ""),
    ("MAKAI", "", "DOWN", "no store"),
    ("BOX", "12", "UP", "measured 98.7% of the last hour"),
    ("VIEW", "", "DOWN", "refused"),
}


def test_the_collection_health_has_the_originals_documents(tmp_path: Path) -> None:
    with closing(CloudContext(lambda: open_store(None, tmp_path))) as shared:
        record_health(shared, tmp_path)
        found = shared.store.people.documents.find(HEALTH)
    assert {(each["service"], each["serviceID"], each["status"], each["info"]) for each in found} == EXPECTED
    assert all(datetime.fromisoformat(each["timestamp"]).tzinfo is not None for each in found)


def test_mongo_has_them_with_a_date(mongo_uri: str, tmp_path: Path) -> None:
    with closing(CloudContext(lambda: open_store(mongo_uri, tmp_path))) as shared:
        record_health(shared, tmp_path)
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        found = list(client.get_default_database().health.find({}))
    assert {(each["service"], each["serviceID"], each["status"], each["info"]) for each in found} == EXPECTED
    assert all(isinstance(each["timestamp"], datetime) for each in found)


@pytest.mark.slow
def test_a_silent_mongodb_is_reported_and_ends_pings(mongo_uri: str, tmp_path: Path) -> None:
    """Notifications are in the same database, so no service here can send any meanwhile."""
    port = urlsplit(mongo_uri).port
    servers = processes_with(f"127.0.0.1:{port}") or processes_with(f"--port {port} ")
    if not servers:
        pytest.skip("OPQ_TEST_MONGO_URI is not a process of this machine, which could be stopped")
    with running(tmp_path, apart=False, mongo_uri=mongo_uri) as system:
        with MongoClient[dict[str, Any]](mongo_uri) as client:
            database = client.get_default_database()
            until(lambda: database.health.count_documents({"service": "BOX"}), 60, "documents")
        first, begun_s = len(system.received), time.monotonic()
        for server in servers:
            os.kill(server, signal.SIGSTOP)
        try:
            until(lambda: system.verdicts().get("triggering-service") is False, 30, "a verdict")
            print(f"a verdict after {time.monotonic() - begun_s:.1f} s")
            assert time.monotonic() - begun_s < ALERT_S
            time.sleep(max(0, 130 - (time.monotonic() - begun_s)))
            assert [each for each in system.pings if each > begun_s + 40] == []
        finally:
            for server in servers:
                os.kill(server, signal.SIGCONT)
        until(lambda: all(system.verdicts().values()), 60, "all is well")
        until(lambda: system.pings[-1] > begun_s + 130, 120, "pings again")
        until(lambda: 2 * sum(ok for *_, ok in system.received) == len(system.received), 30, "recoveries")
        found = sorted((name, ok) for _, name, ok in system.received[first:])
    names = ("notifications", "triggering-service")  # both are told afterwards, once
    assert found == [(name, ok) for name in names for ok in (False, True)]
