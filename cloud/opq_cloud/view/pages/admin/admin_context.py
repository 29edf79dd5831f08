"""What the pages of administration share: who may read, who may change, and how a page is rendered."""

from dataclasses import dataclass

from fastapi import HTTPException, Response

from opq_cloud.operations.rule_engine import RuleEngine
from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_cloud.store.store import CloudStore
from opq_cloud.view.pages.account.account_context import AccountContext
from opq_cloud.view.pages.visible.seen_jobs import SeenJobs
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web.visitors import VISITOR, Visitor
from opq_proto.keys.key_files import KeyFolder
from opq_proto.keys.register import KeyRegister

NO_PAGE = "There is no page at this address."


@dataclass(frozen=True, slots=True)
class AdminContext:
    """One per View. Administrators read and change; a View without accounts lets its own machine read."""

    accounts: AccountContext
    services: ViewServices
    jobs: SeenJobs

    @property
    def store(self) -> CloudStore:
        return self.accounts.store

    @property
    def addresses(self) -> ServiceAddresses:
        return self.services.addresses

    @property
    def keys(self) -> KeyFolder | None:
        return self.accounts.keys

    def register(self) -> KeyRegister:
        """The register of keys. Raises HTTPException 409 where View has no key folder."""
        if self.keys is None:
            raise HTTPException(
                409, "This View has no key folder; it runs without its cloud's configuration."
            )
        return KeyRegister(self.keys)

    def engine(self, name: str) -> RuleEngine:
        """The engine with this name. Raises HTTPException 404 where it is not configured."""
        for each in self.addresses.engines:
            if each.name == name:
                return RuleEngine(each)
        raise HTTPException(404, "There is no such rule engine in the configuration.")

    def require_reader(self) -> Visitor:
        """The visitor, who may read. Raises 404 for others, so that they do not learn which pages exist."""
        visitor = VISITOR.get()
        if not visitor.sees_administration:
            raise HTTPException(404, NO_PAGE)
        return visitor

    def require_administrator(self) -> Visitor:
        """The visitor, who may change. Raises 404 for others."""
        visitor = VISITOR.get()
        if not visitor.administers:
            raise HTTPException(404, NO_PAGE)
        return visitor

    def page(self, template: str, part: str, code: int = 200, **values: object) -> Response:
        """Renders a page; `part` marks its place in the navigation of administration."""
        visitor = VISITOR.get()
        return self.accounts.page(
            f"administration/{template}",
            here="admin",
            code=code,
            part=part,
            may_change=visitor.administers,
            **values,
        )
