"""The log of changes as a file, as a job of its own process: four hundred days may be many rows."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from opq_cloud.export.tables import ExportTable, JsonRow, TableColumn, TableForm, table_pieces
from opq_cloud.store.records.accounts.audit import BY_COMMAND, AuditEntry, AuditFilter
from opq_cloud.store.store import CloudStore
from opq_cloud.view.pages.visible.seen_jobs import JobFacts

COLUMNS = (
    TableColumn("time", "text"),
    TableColumn("at_ms", "whole"),
    TableColumn("who", "text"),
    TableColumn("account_id", "text"),
    TableColumn("by", "text"),
    TableColumn("address", "text"),
    TableColumn("what", "text"),
    TableColumn("subject", "text"),
    TableColumn("before", "text"),
    TableColumn("after", "text"),
)


def audit_export(store: CloudStore, facts: JobFacts, wanted: AuditFilter, form: TableForm) -> Iterator[bytes]:
    """Yields the pieces of the file."""
    names = account_names(store)
    rows = (export_row(each, names) for each in store.people.changes.every(wanted))
    yield from table_pieces(ExportTable("audit", COLUMNS, rows, {}), form, bare=True)


def account_names(store: CloudStore) -> Mapping[str, str]:
    """Account -> the name that it has now."""
    return {each.account_id: each.name for each in store.people.accounts()}


def who_words(entry: AuditEntry, names: Mapping[str, str]) -> str:
    """Who made a change, by the names that accounts have now."""
    if entry.by == BY_COMMAND:
        return "Command line"
    return names.get(entry.account_id, "account deleted" if entry.account_id else "not signed in")


def export_row(entry: AuditEntry, names: Mapping[str, str]) -> JsonRow:
    """One change as a row of the file."""
    return {
        "time": datetime.fromtimestamp(entry.at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        "at_ms": entry.at_ms,
        "who": who_words(entry, names),
        "account_id": entry.account_id,
        "by": entry.by,
        "address": entry.address,
        "what": entry.what,
        "subject": entry.subject,
        "before": dict(entry.before),
        "after": dict(entry.after),
    }
