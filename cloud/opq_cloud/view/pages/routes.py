"""All pages, put together in this file alone."""

from dataclasses import dataclass

from fastapi import APIRouter

from opq_cloud.view.pages.account.account_context import AccountContext
from opq_cloud.view.pages.account.account_pages import AccountPages
from opq_cloud.view.pages.account.admin_pages import AdminPages
from opq_cloud.view.pages.account.box_settings import BoxSettingsPages
from opq_cloud.view.pages.account.entry_pages import EntryPages
from opq_cloud.view.pages.account.notification_pages import NotificationPages
from opq_cloud.view.pages.admin.admin_routes import admin_router
from opq_cloud.view.pages.boxes.box_page import BoxPages
from opq_cloud.view.pages.boxes.site_page import SitePages
from opq_cloud.view.pages.boxes.waveform_requests import WaveformRequests
from opq_cloud.view.pages.drawing.rendering import PageRenderer
from opq_cloud.view.pages.examine.page import ExaminePages
from opq_cloud.view.pages.examine.recording_page import RecordingPages
from opq_cloud.view.pages.examine.signals import SignalCache
from opq_cloud.view.pages.front_page import FrontPage
from opq_cloud.view.pages.incidents.edit_pages import IncidentEditPages
from opq_cloud.view.pages.incidents.list_pages import IncidentPages
from opq_cloud.view.pages.map.grid_reader import GridReader
from opq_cloud.view.pages.map.map_feed import MapFeeds
from opq_cloud.view.pages.map.map_pages import MapPages
from opq_cloud.view.pages.map.shared_pages import SharedPages
from opq_cloud.view.pages.past.page import PastPages
from opq_cloud.view.pages.reports.report_pages import WeekReportPages
from opq_cloud.view.pages.reports.seen_reports import SeenReports
from opq_cloud.view.pages.search import SearchPages
from opq_cloud.view.pages.service_clients.box_client import BoxClient
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.pages.waveform_pages import EventPages, WaveformPages
from opq_cloud.view.web.forms import FormPlaces
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.themes import theme_routes


@dataclass(frozen=True, slots=True)
class PageParts:
    """What several pages share."""

    services: ViewServices
    context: VisitorContext
    renderer: PageRenderer
    requests: WaveformRequests
    grid: GridReader
    reports: SeenReports
    maps: MapFeeds


def page_parts(services: ViewServices) -> PageParts:
    context = VisitorContext(services)
    grid = GridReader(context, services, services.config.map_radius_km)
    requests = WaveformRequests(services.store)
    renderer = PageRenderer(services.now_ns)
    maps = MapFeeds(grid, services.counters)
    return PageParts(services, context, renderer, requests, grid, SeenReports(context, services), maps)


def page_router(parts: PageParts) -> APIRouter:
    """The routes of all pages."""
    services, context, render = parts.services, parts.context, parts.renderer.render
    router, box_client = APIRouter(include_in_schema=False), BoxClient(services.addresses)
    accounts = AccountContext(
        store=services.store,
        visitors=services.visitors,
        sign_in=SignIn(services.visitors.people),
        mailer=services.mailer,
        keys=services.keys,
        render=render,
        unset_channels=services.addresses.unset_channels,
    )
    for made in (
        MapPages(context, parts.grid, parts.maps, services, render),
        EntryPages(accounts, FormPlaces(services.counters)),
        AccountPages(accounts),
        # a separate client, so that a silent Box does not delay the claim of another
        BoxSettingsPages(accounts, BoxClient(services.addresses).spend_claim_code),
        AdminPages(accounts),
        NotificationPages(accounts),
        IncidentEditPages(accounts),
        RecordingPages(accounts, services.examiner),
        WaveformPages(accounts, parts.requests, context),
    ):
        router.include_router(made.router())
    router.include_router(admin_router(accounts, services))
    router.include_router(theme_routes())
    examine = ExaminePages(context, SignalCache(services.store), render)
    for page in (
        FrontPage(context, parts.reports, services.addresses.folder, render),
        BoxPages(context, box_client, render),
        SitePages(context, render),
        IncidentPages(context, services, examine, render),
        examine,
        PastPages(context, services, render),
        WeekReportPages(context, parts.reports, render),
        EventPages(context, render),
        SearchPages(context, render),
        SharedPages(context, parts.grid, services.config, render),
    ):
        router.include_router(page.router())
    return router
