"""All pages, put together in this file alone."""

from dataclasses import dataclass

from starlette.routing import BaseRoute

from opq_cloud.operations.box_client import BoxClient
from opq_cloud.view.pages.account.account_context import AccountContext
from opq_cloud.view.pages.account.account_pages import AccountPages
from opq_cloud.view.pages.account.admin_pages import AdminPages
from opq_cloud.view.pages.account.box_settings import BoxSettingsPages
from opq_cloud.view.pages.account.entry_pages import EntryPages
from opq_cloud.view.pages.account.notification_pages import NotificationPages
from opq_cloud.view.pages.account.site_joining import SiteJoining
from opq_cloud.view.pages.account.site_joins import SiteJoinPages
from opq_cloud.view.pages.admin.admin_routes import admin_routers
from opq_cloud.view.pages.boxes.box_page import BoxPages
from opq_cloud.view.pages.boxes.site_page import SitePages
from opq_cloud.view.pages.boxes.waveform_requests import WaveformRequests
from opq_cloud.view.pages.drawing.rendering import PageRenderer
from opq_cloud.view.pages.examine.event_page import ExaminePages
from opq_cloud.view.pages.examine.recording_page import RecordingPages
from opq_cloud.view.pages.examine.signals import SignalCache
from opq_cloud.view.pages.front_page import FrontPage
from opq_cloud.view.pages.incidents.edit_pages import IncidentEditPages
from opq_cloud.view.pages.incidents.list_pages import IncidentPages
from opq_cloud.view.pages.incidents.overlay import OverlayPages
from opq_cloud.view.pages.map.grid_reader import GridReader
from opq_cloud.view.pages.map.map_feed import MapFeeds
from opq_cloud.view.pages.map.map_pages import MapPages
from opq_cloud.view.pages.map.shared_pages import SharedPages
from opq_cloud.view.pages.past.past_page import PastPages
from opq_cloud.view.pages.past.verdict_calendar import VerdictCalendar
from opq_cloud.view.pages.reports.report_jobs import ReportJobs
from opq_cloud.view.pages.reports.report_pages import WeekReportPages
from opq_cloud.view.pages.reports.seen_reports import SeenReports
from opq_cloud.view.pages.search import SearchPages
from opq_cloud.view.pages.visible.seen_jobs import SeenJobs
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
    jobs: SeenJobs
    report_jobs: ReportJobs
    maps: MapFeeds
    accounts: AccountContext
    joining: SiteJoining


def page_parts(services: ViewServices) -> PageParts:
    context = VisitorContext(services)
    grid = GridReader(context, services, services.config.map_radius_km)
    requests = WaveformRequests(services.store)
    renderer = PageRenderer(services.now_ns, services.store.index_progress)
    maps = MapFeeds(grid, services.counters)
    reports, jobs = SeenReports(context, services), SeenJobs(services)
    accounts = AccountContext(
        store=services.store,
        visitors=services.visitors,
        sign_in=SignIn(services.visitors.people),
        mailer=services.mailer,
        keys=services.keys,
        render=renderer.render,
        unset_channels=services.addresses.unset_channels,
    )
    return PageParts(
        services,
        context,
        renderer,
        requests,
        grid,
        reports,
        jobs,
        ReportJobs(jobs),
        maps,
        accounts,
        SiteJoining(accounts),
    )


def page_routes(parts: PageParts) -> list[BaseRoute]:
    """The routes of all pages: each request tries them in this order, so the most requested come first."""
    services, context, render = parts.services, parts.context, parts.renderer.render
    box_client = BoxClient(services.addresses)
    accounts = parts.accounts
    signals = SignalCache(services.store)
    examine = ExaminePages(context, signals, render)
    routers = (
        MapPages(context, parts.grid, parts.maps, services, render).router(),
        FrontPage(context, parts.reports, services.addresses.folder, render).router(),
        IncidentPages(context, services, examine, render).router(),
        examine.router(),
        OverlayPages(context, signals, render).router(),
        PastPages(context, services, VerdictCalendar(context, parts.jobs), render).router(),
        BoxPages(context, box_client, render).router(),
        SitePages(context, render).router(),
        WeekReportPages(context, parts.reports, parts.report_jobs, render).router(),
        EventPages(context, render).router(),
        SearchPages(context, render).router(),
        SharedPages(context, parts.grid, services.config, render).router(),
        EntryPages(accounts, FormPlaces(services.counters)).router(),
        AccountPages(accounts).router(),
        BoxSettingsPages(accounts, box_client.spend_claim_code).router(),
        SiteJoinPages(accounts, parts.joining).router(),
        AdminPages(accounts).router(),
        NotificationPages(accounts).router(),
        IncidentEditPages(accounts).router(),
        RecordingPages(accounts, services.examiner, parts.jobs.places).router(),
        WaveformPages(accounts, parts.requests, context).router(),
        *admin_routers(accounts, services, parts.jobs),
        theme_routes(),
    )
    return [route for router in routers for route in router.routes]
