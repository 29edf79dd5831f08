"""View's services over one store, for a page without accounts: every visitor sees everything."""

from typing import Any, Literal

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection, ViewSection
from opq_cloud.store.store import CloudStore
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.visitors import Visitors


def open_services(
    store: CloudStore, sign_in: Literal["never", "beyond_loopback"] = "never", **more: Any
) -> ViewServices:
    """`more`: further fields of `ViewServices`. A read outside a request sees nothing, as in View itself."""
    counters = ServiceCounters()
    visitors = Visitors(store.people, ViewSection(sign_in=sign_in))
    return ViewServices(store, LiveHub(counters), counters, visitors, Mailer(MailSection(), counters), **more)
