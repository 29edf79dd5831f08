"""docs/schema.md says what the stores are made of, as they are."""

from pathlib import Path
from typing import Any

from pymongo import MongoClient

from opq_cloud.store.incident_index import IncidentFilter
from opq_cloud.store.mongo import MongoStore
from opq_cloud.store.schema_page import embedded_schema, mongo_schema

PAGE = Path(__file__).resolve().parents[3] / "docs" / "schema.md"
SERVERS_OWN = ("fs.chunks", "fs.files")
"""GridFS' own indexes, which a driver makes with the first file."""


def test_the_page_has_the_tables_and_indexes_of_the_embedded_store() -> None:
    assert embedded_schema() in PAGE.read_text()


def test_the_page_has_the_indexes_of_the_mongo_store(mongo_uri: str) -> None:
    store = MongoStore(mongo_uri)
    store.count_incidents(IncidentFilter(), 1)
    assert list(store.incident_parts(["1"], IncidentFilter())) == []
    assert store.people.changes.entries() == []
    store.close()
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        database = client.get_default_database()
        found = {
            name: database[name].index_information()
            for name in database.list_collection_names()
            if name not in SERVERS_OWN
        }
    # a stand-in without partial indexes has one that is not unique
    page = PAGE.read_text().replace("unique ", "")
    rows = mongo_schema(found).replace("unique ", "").splitlines()
    assert len(rows) > 10 and [row for row in rows if row not in page] == []
