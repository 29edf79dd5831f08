"""docs/schema.md says what the stores are made of: its tables are made here, from what opening one makes."""

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from original_fields import read_fields_table
from pymongo import MongoClient

from opq_cloud.store.embedded.embedded_accounts import ACCOUNTS_FILE, ACCOUNTS_MIGRATIONS
from opq_cloud.store.embedded.schema import MIGRATIONS
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_proto.kit.sqlite_file import run_migration

PAGE = Path(__file__).resolve().parents[3] / "docs" / "schema.md"
SERVERS_OWN = ("fs.chunks", "fs.files")
"""GridFS' own indexes, which a driver makes with the first file."""
STORE_FILE = "opq.db"
"""As `open_store` names it."""
NO_KEY = ("_id",)


def embedded_schema() -> str:
    """Tables, columns and indexes of the embedded store's two files."""
    parts = []
    for file_name, migrations in ((STORE_FILE, MIGRATIONS), (ACCOUNTS_FILE, ACCOUNTS_MIGRATIONS)):
        parts.append(f"### {file_name}, schema {len(migrations)}\n")
        parts.append("| table | columns (bold: key) | indexes |\n| --- | --- | --- |")
        with closing(sqlite3.connect(":memory:")) as connection:
            for each in migrations:
                run_migration(connection, each)
            parts.append("\n".join(_rows(connection)) + "\n")
    return "\n".join(parts)


def mongo_schema(indexes: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """`indexes`: collection -> name -> as `Collection.index_information` has them."""
    lines = ["| collection | indexes |", "| --- | --- |"]
    for collection in sorted(indexes):
        own = [each for each in indexes[collection].values() if _names(each) != NO_KEY]
        if found := [_keys(each) for each in sorted(own, key=_names)]:
            lines.append(f"| `{collection}` | {'; '.join(found)} |")
    return "\n".join(lines) + "\n"


def _rows(connection: sqlite3.Connection) -> Iterator[str]:
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    for (table,) in connection.execute(tables).fetchall():
        columns = [
            f"**{name}**" if key else name
            for _, name, _, _, _, key, _ in connection.execute(f"PRAGMA table_xinfo({table})")
        ]
        made = connection.execute(
            "SELECT sql FROM sqlite_master "
            "WHERE type = 'index' AND sql NOT NULL AND tbl_name = ? ORDER BY sql",
            (table,),
        )
        yield f"| `{table}` | {', '.join(columns)} | {'; '.join(_index(sql) for (sql,) in made)} |"


def _index(sql: str) -> str:
    """`(a, b) where x`, of the statement that made it."""
    text = " ".join(sql.split())
    found = re.search(r" ON \w+ (\(.*)", text)
    columns = found[1] if found else text
    columns = re.sub(r"json_extract\(document, '\$\.(\w+)'\)", r"\1", columns).replace(" WHERE ", " where ")
    return f"unique {columns}" if " UNIQUE " in text else columns


def _names(index: Mapping[str, Any]) -> tuple[str, ...]:
    keys: Sequence[tuple[str, object]] = index["key"]
    return tuple(name for name, _ in keys)


def _keys(index: Mapping[str, Any]) -> str:
    keys: Sequence[tuple[str, Any]] = index["key"]
    text = ", ".join(f"{name} down" if direction == -1 else name for name, direction in keys)
    return f"unique ({text})" if index.get("unique") else f"({text})"


def test_the_page_has_the_embedded_stores_tables() -> None:
    assert embedded_schema() in PAGE.read_text()


def test_the_page_has_the_originals_read_fields() -> None:
    assert read_fields_table() in PAGE.read_text(), read_fields_table()


def test_the_page_has_the_mongo_stores_indexes(mongo_uri: str) -> None:
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
