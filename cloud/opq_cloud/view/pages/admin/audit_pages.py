"""`/admin/audit`: every change, by whom and from where, before and after; filtered, also as CSV and JSON."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from opq_cloud.export.tables import MEDIA_TYPES, TableForm
from opq_cloud.store.records.accounts.audit import BY_COMMAND, BY_PAGE, AuditEntry, AuditFilter
from opq_cloud.view.pages.admin.admin_context import AdminContext
from opq_cloud.view.pages.admin.audit_export import account_names, audit_export, who_words
from opq_cloud.view.pages.visible.registry import BOX_ID
from opq_cloud.view.web.shares import PageRouter

PER_PAGE = 50
BY_WORDS = {BY_PAGE: "A page", BY_COMMAND: "The command line"}
TEXTS = ("who", "subject", "by", "words", "from", "to")
"""The query parameters of the filter."""
PATHS = ("/admin/audit", "/admin/changes")
"""The second is the former address."""


@dataclass(frozen=True, slots=True)
class ChangedValue:
    """One field of an entry; a value is empty where there was none."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One entry as the page shows it."""

    entry: AuditEntry
    who: str
    subject: str
    link: str
    """The address of what was changed; empty where it has no page."""
    changed: tuple[ChangedValue, ...]


class AuditPages:
    def __init__(self, context: AdminContext) -> None:
        self._context = context

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        for path in PATHS:
            router.add_api_route(path, self.page, response_class=HTMLResponse)
        router.add_api_route("/admin/audit.csv", self.as_csv)
        router.add_api_route("/admin/audit.json", self.as_json)
        return router

    def page(self, request: Request, before: Annotated[str, Query(max_length=40)] = "") -> Response:
        self._context.require_reader()
        texts = {name: request.query_params.get(name, "").strip()[:100] for name in TEXTS}
        wanted = read_filter(texts)
        people = self._context.accounts.people
        found = people.changes.entries(wanted, before, PER_PAGE + 1)
        names = account_names(self._context.store)
        given = {name: text for name, text in texts.items() if text}
        shown = found[:PER_PAGE]
        return self._context.page(
            "audit.html",
            "audit",
            rows=[audit_row(each, names) for each in shown],
            texts=texts,
            filtered=bool(given),
            accounts=people.accounts(),
            by_words=BY_WORDS,
            query=urlencode(given),
            older=urlencode({**given, "before": shown[-1].key}) if len(found) > PER_PAGE else "",
            newest=urlencode(given) if before else None,
        )

    async def as_csv(self, request: Request) -> Response:
        return await self._export(request, "csv")

    async def as_json(self, request: Request) -> Response:
        return await self._export(request, "json")

    async def _export(self, request: Request, form: TableForm) -> Response:
        """The file, written in its own process while it is read."""
        self._context.require_reader()
        wanted = read_filter({name: request.query_params.get(name, "").strip()[:100] for name in TEXTS})
        head, pieces = await self._context.jobs.parts("export", audit_export, wanted, form)

        async def whole() -> AsyncIterator[bytes]:
            async with aclosing(pieces):
                yield head
                async for piece in pieces:
                    yield piece

        headers = {
            "Content-Disposition": f'attachment; filename="opq-audit.{form}"',
            "Cache-Control": "no-store",
        }
        return StreamingResponse(whole(), media_type=MEDIA_TYPES[form], headers=headers)


def read_filter(texts: Mapping[str, str]) -> AuditFilter:
    """The filter of a request. `subject` may be typed as `Box 1` or `1`.

    Raises HTTPException 400 where a date is not valid.
    """
    start, end = _day(texts.get("from", "")), _day(texts.get("to", ""))
    subject = texts.get("subject", "")
    if subject.isdigit():
        subject = f"box {subject}"
    return AuditFilter(
        account_id=texts.get("who", ""),
        subject=subject[:1].lower() + subject[1:] if re.match("Box |Incident ", subject) else subject,
        by=texts.get("by", "") if texts.get("by", "") in BY_WORDS else "",
        words=texts.get("words", ""),
        from_ms=None if start is None else round(start.timestamp() * 1000),
        to_ms=None if end is None else round((end + timedelta(days=1)).timestamp() * 1000),
    )


def _day(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise HTTPException(400, f"{text} is not a day; write it as 2026-11-22.") from None


def audit_row(entry: AuditEntry, names: Mapping[str, str]) -> AuditRow:
    """The entry with the names that accounts have now."""
    found = re.fullmatch(rf"(box|incident) ({BOX_ID.pattern})", entry.subject)
    link = ""
    if found:
        link = f"/admin/boxes/{found[2]}" if found[1] == "box" else f"/incidents/{found[2]}"
    keys = [*entry.before, *(key for key in entry.after if key not in entry.before)]
    return AuditRow(
        entry,
        who_words(entry, names),
        names.get(entry.subject, entry.subject[:1].upper() + entry.subject[1:]),
        link,
        tuple(
            ChangedValue(key, entry.before.get(key, ""), entry.after.get(key, ""))
            for key in keys
            if entry.before.get(key, "") or entry.after.get(key, "")
        ),
    )
