"""What the steps of the store's schema come to, as a new file gets it at once.

python cloud/tests/present_schema.py    # after a new step: writes present.sql
"""

import sqlite3
from contextlib import closing

from opq_cloud.store.embedded import schema
from opq_proto.kit.sqlite_file import IN_MEMORY, run_migration

HEAD = "-- Made of the steps in schema.py by cloud/tests/present_schema.py, which writes it again.\n\n"


def after_each_step() -> sqlite3.Connection:
    """A database in memory that went through every schema."""
    connection = sqlite3.connect(IN_MEMORY)
    for each in schema.MIGRATIONS:
        run_migration(connection, each)
    return connection


def present() -> str:
    with closing(after_each_step()) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY rowid")
        return HEAD + schema.NEXT_STATEMENT.join(sql for (sql,) in rows) + "\n"


if __name__ == "__main__":
    schema.PRESENT.write_text(present())
