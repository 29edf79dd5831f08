"""A store's file as an earlier version left it: what later schemas brought is taken out."""

import sqlite3

REMOVED = {
    24: (
        "DROP TRIGGER phenomena_entered",
        "DROP TRIGGER phenomena_changed",
        "DROP TRIGGER phenomena_removed",
        "DROP TABLE phenomenon_boxes",
    ),
    23: ("DROP TABLE intervals_damaged",),
    22: ("DROP TABLE phenomena", "DROP TABLE ground_truth"),
    21: (
        "ALTER TABLE incident_index DROP COLUMN work",
        "ALTER TABLE incident_index DROP COLUMN assigned_to",
        "ALTER TABLE incident_index DROP COLUMN known_cause",
    ),
    19: (
        "DROP TABLE intervals_new",
        "DROP TABLE intervals_due",
        "DROP TABLE interval_numbers",
        "DROP TABLE interval_blocks",
        "DROP TABLE disturbances",
    ),
    18: (
        "DROP INDEX incidents_by_onset",
        "CREATE INDEX incidents_by_onset ON incidents (start_ns)",
        "ALTER TABLE incidents DROP COLUMN start_id",
    ),
    17: ("ALTER TABLE blocks DROP COLUMN sum",),
}
"""Schema -> what takes it out; 20 packed the appended rows again, which an empty table does not show."""


def go_back(file: sqlite3.Connection, schema: int) -> None:
    """Takes out what came after `schema`."""
    for later, statements in REMOVED.items():
        for statement in statements if later > schema else ():
            file.execute(statement)
    file.execute(f"PRAGMA user_version = {schema}")
