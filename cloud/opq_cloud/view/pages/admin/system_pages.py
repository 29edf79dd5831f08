"""`/admin/system`: services, what waits and what was dropped, updates, disk, retention, Mauka's graph."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.operations.health_client import ServiceCount, read_counts, read_services
from opq_cloud.operations.plugin_manager import PluginManager, PluginManagerError
from opq_cloud.store.documents.retention import Ttls
from opq_cloud.store.records.boxes.gateway_updates import GatewayUpdates
from opq_cloud.view.pages.admin.admin_context import AdminContext
from opq_cloud.view.pages.visible.availability import together
from opq_cloud.view.web.forms import SentForm, form_route, see_other
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import Visitor
from opq_proto.time_units import DAY_S

MAX_DAYS = 36_500
LOST_WORDS = (
    "dropped",
    "refused",
    "malformed",
    "failed",
    "lost",
    "missing",
    "late",
    "missed",
    "not_answered",
)
"""Parts of the names of counters of losses."""
WAITING_WORDS = ("queue", "waiting", "pending", "backlog")
PARTS_SHOWN = 12
"""Above this number of parts, those that are well are folded."""
ROWS_SHOWN = 60
KEPT_WORDS = {
    "measurements": "Measurements",
    "trends": "Trends",
    "events": "Events with their waveforms",
    "incidents": "Incidents and findings",
}
DRAWING_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The file system that holds the store."""

    folder: str
    free_bytes: int
    total_bytes: int
    store_bytes: int
    """Size of the files directly in the folder."""

    @property
    def free_share(self) -> float:
        return self.free_bytes / max(1, self.total_bytes)


class SystemPages:
    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._manager = PluginManager(context.addresses.plugin_manager)

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route("/admin/system", self.system_page, response_class=HTMLResponse)
        router.add_api_route("/admin/system/mauka.svg", self.drawing)
        router.add_route("/admin/system/retention", form_route(self.change), methods=["POST"])
        return router

    def system_page(self, saved: bool = False) -> Response:
        self._context.require_reader()
        return self._page(saved=saved)

    def _page(self, problem: str = "", code: int = 200, saved: bool = False) -> Response:
        services, whole = read_services(self._context.addresses), self._context.services
        counts = read_counts(services.urls)
        try:
            flows, silent = self._manager.plugins(), ""
        except PluginManagerError as error:
            flows, silent = [], str(error)
        return self._context.page(
            "system.html",
            "system",
            code=code,
            services=services,
            measured=together(whole.availability.of(whole.expected_boxes()).values()),
            parts_shown=PARTS_SHOWN,
            waiting=waiting(counts)[:ROWS_SHOWN],
            lost=lost(counts)[:ROWS_SHOWN],
            disk=disk_space(self._context.addresses.folder),
            kept=kept_days(self._context.store.ttls()),
            kept_words=KEPT_WORDS,
            **updates_of(GatewayUpdates(self._context.store.people.documents)),
            flows=flows,
            mauka_silent=silent,
            problem=problem,
            saved=saved,
        )

    def drawing(self) -> Response:
        """Mauka's graph as a separate image, with its own colours."""
        self._context.require_reader()
        try:
            drawn = self._manager.drawing()
        except PluginManagerError as error:
            raise HTTPException(503, str(error)) from error
        return Response(drawn, media_type="image/svg+xml", headers=DRAWING_HEADERS)

    def change(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Stores the retention times in `laha_config`; every process follows within 5 s."""
        visitor = self._context.require_administrator()
        before = self._context.store.ttls()
        try:
            wanted = Ttls(
                measurements=_seconds(form, "measurements", before.measurements),
                trends=_seconds(form, "trends", before.trends) if form.text("trends", 20) else None,
                events=_seconds(form, "events", before.events),
                incidents=_seconds(form, "incidents", before.incidents),
            )
        except ValueError as error:
            return self._page(str(error), 400)
        self._context.store.put_ttls(wanted)
        values = ({f"{key}_s": value for key, value in asdict(each).items()} for each in (before, wanted))
        self._context.accounts.note(visitor, "set how long things are kept", "retention", *values)
        return see_other("/admin/system?saved=1#kept")


def updates_of(updates: GatewayUpdates) -> dict[str, list[dict[str, object]]]:
    """The roll-outs and the newest report of each gateway: those that failed first, then by their numbers."""
    order = {"failed": 0, "trying": 1}
    rows = sorted(updates.reports(), key=lambda each: (order.get(each["state"], 2), int(each["gateway"])))
    return {"plans": [dict(each) for each in updates.plans()], "gateways": [dict(each) for each in rows]}


def _seconds(form: SentForm, name: str, before: int | None) -> int:
    """Typed days as seconds; an unchanged text keeps the exact value. Raises ValueError with a sentence."""
    text = form.text(name, 20)
    if before is not None and text == _days(before):
        return before
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 1 / 24 <= days <= MAX_DAYS:
        raise ValueError(
            f"{KEPT_WORDS[name]}: {text or 'nothing'} is not a number of days from 0.042 to {MAX_DAYS}."
        )
    return round(days * DAY_S)


def kept_days(ttls: Ttls) -> dict[str, str]:
    """Retention in days as texts; empty means for ever."""
    return {name: "" if value is None else _days(value) for name, value in asdict(ttls).items()}


def _days(seconds: int) -> str:
    return f"{seconds / DAY_S:.6g}"


def waiting(counts: Sequence[ServiceCount]) -> list[ServiceCount]:
    """The gauges of what waits now, the largest first."""
    found = [
        each
        for each in counts
        if each.counter.endswith("_now")
        and each.value
        and any(word in each.counter for word in WAITING_WORDS)
    ]
    return sorted(found, key=lambda each: -each.value)


def lost(counts: Sequence[ServiceCount]) -> list[ServiceCount]:
    """The counters of what was lost since each service started, the largest first."""
    found = [
        each
        for each in counts
        if not each.counter.endswith("_now")
        and each.value
        and any(word in each.counter for word in LOST_WORDS)
    ]
    return sorted(found, key=lambda each: -each.value)


def disk_space(folder: Path | None) -> DiskSpace | None:
    """The disk of the store; None where the store is not a folder of this machine."""
    if folder is None:
        return None
    try:
        usage = shutil.disk_usage(folder)
        own = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    except OSError:
        return None
    return DiskSpace(str(folder), usage.free, usage.total, own)
