"""What must be in a database first: the schema of this project's collections, and what the original's
programs end without: settings.

A document that the original wrote is not changed.
"""

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from opq_cloud.store.documents import Document
from opq_cloud.store.documents.makai_documents import limits_document
from opq_cloud.store.documents.retention import Ttls, ttls_document
from opq_cloud.store.records.tables import INDEX_COUNTERS
from opq_proto.errors import OtherFormError, OtherSchemaError

SCHEMA = 1
"""Of this project's collections; a database with another one is refused, as an SQLite file with a newer."""
SCHEMA_ID = "schema"
ROLLUPS_FILL = "rollups_fill"
"""In `opq_counters`: up to where trends that the original stored are marked for roll-up."""


def check_schema(db: Database[Document]) -> bool:
    """Checks the schema of this project's collections; returns whether there are any.

    Raises:
        StoreError: a program of before 0.2.0 wrote them, or one that knows another schema.
    """
    place, another = f"MongoDB database {db.name}", "database in mongo_uri"
    is_ours = db.opq_counters.find_one({}, {"_id": 1}) is not None  # first, because it is written last
    found = db.opq_schema.find_one({"_id": SCHEMA_ID})
    if found is None and is_ours:
        raise OtherFormError(place, f"choose another {another}")
    if found is not None and found["version"] != SCHEMA:
        raise OtherSchemaError(place, int(found["version"]), SCHEMA, another)
    return found is not None


def put_schema(db: Database[Document]) -> None:
    """Writes the schema before anything else, so that no other process finds documents without it."""
    try:
        db.opq_schema.insert_one({"_id": SCHEMA_ID, "version": SCHEMA})
    except DuplicateKeyError:
        check_schema(db)  # another process was faster


def put_whole_indexes(db: Database[Document]) -> None:
    """Notes in a new database that no incident of ours lacks its index, so that no list searches for one."""
    for counter in INDEX_COUNTERS.values():
        try:
            db.opq_counters.insert_one({"_id": counter, "value": 0})
        except DuplicateKeyError:
            continue  # another process of ours was faster


def put_first_documents(db: Database[Document]) -> None:
    """Writes `laha_config` and `makai_config` where they are missing."""
    first: Document = {"_id": "ttls", "ttls": ttls_document(Ttls())}
    for collection, document in ((db.laha_config, first), (db.makai_config, limits_document(None))):
        if collection.find_one({}, {"_id": 1}) is None:
            try:
                collection.insert_one(document)
            except DuplicateKeyError:
                continue  # another process of ours was faster
