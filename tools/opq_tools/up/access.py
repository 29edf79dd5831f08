"""Access of `up` to its own page: its own token, and the link for the first administrator.

A page with accounts requires a token for its live feed; a user who may write the data folder may also read
the feed. Separate from `run.py`, because it opens the store.
"""

from dataclasses import dataclass

from opq_cloud.core.original.original_settings import read_config
from opq_cloud.core.settings.endpoint_ports import with_port_offset
from opq_cloud.store import opened_people
from opq_cloud.view.web.links import first_admin_link, local_token
from opq_proto.errors import OpqError
from opq_proto.kit.http_server import url_of
from opq_proto.kit.ports import PORTS
from opq_tools.up.plan import UpPlan


@dataclass(frozen=True, slots=True)
class PageAccess:
    """Token and link; `first_admin_link` is None once there is an account."""

    token: str = ""
    first_admin_link: str | None = None


NO_ACCESS = PageAccess()
TOKEN_LABEL = "opq-tools up"


def view_url_of(plan: UpPlan) -> str:
    """Where View answers to this machine, by the configuration that `plan.prepare` wrote."""
    try:
        config = read_config([plan.data_dir / "config" / "cloud.toml"], {}, None)
        return url_of(with_port_offset(config.view, plan.port_offset).http_endpoint, "")
    except OpqError:  # the cloud logs the reason itself
        return f"http://127.0.0.1:{PORTS['view'] + plan.port_offset}"


def page_access(plan: UpPlan, view_url: str) -> PageAccess:
    """Access by the configuration that `plan.prepare` wrote; empty where the store cannot be opened.

    The cloud then logs the reason itself.
    """
    try:
        config = read_config([plan.data_dir / "config" / "cloud.toml"], {}, None)
        with opened_people(config.store.mongo_uri, config.store.data_dir or plan.data_dir) as people:
            return PageAccess(
                local_token(people, TOKEN_LABEL), first_admin_link(people, config.view.address or view_url)
            )
    except OpqError:
        return NO_ACCESS
