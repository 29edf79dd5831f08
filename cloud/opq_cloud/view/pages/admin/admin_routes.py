"""All routes of administration in one router; its parts are named only here."""

from fastapi import APIRouter

from opq_cloud.view.pages.account.account_context import AccountContext
from opq_cloud.view.pages.admin.admin_context import AdminContext
from opq_cloud.view.pages.admin.audit_pages import AuditPages
from opq_cloud.view.pages.admin.box_pages import BoxAdminPages
from opq_cloud.view.pages.admin.firmware_pages import FirmwarePages
from opq_cloud.view.pages.admin.front_page import AdminFrontPage
from opq_cloud.view.pages.admin.key_pages import KeyAdminPages
from opq_cloud.view.pages.admin.plugin_pages import PluginAdminPages
from opq_cloud.view.pages.admin.rule_pages import RuleAdminPages
from opq_cloud.view.pages.admin.system_pages import SystemPages
from opq_cloud.view.pages.visible.seen_jobs import SeenJobs
from opq_cloud.view.pages.visible.view_services import ViewServices

PARTS = (
    AdminFrontPage,
    BoxAdminPages,
    FirmwarePages,
    KeyAdminPages,
    AuditPages,
    PluginAdminPages,
    RuleAdminPages,
    SystemPages,
)


def admin_routers(accounts: AccountContext, services: ViewServices, jobs: SeenJobs) -> list[APIRouter]:
    """The routers; every page of them is for administrators, others get 404."""
    context = AdminContext(accounts, services, jobs)
    return [part(context).router() for part in PARTS]
