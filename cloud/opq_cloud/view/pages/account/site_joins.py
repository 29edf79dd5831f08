"""The page of sites, `/account/sites`, and the forms of both owners (`site_joining.py`)."""

from collections.abc import Mapping
from types import MappingProxyType

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.store.site_key import KEY_CHARACTERS
from opq_cloud.view.pages.account.account_context import AccountContext, own_account
from opq_cloud.view.pages.account.site_joining import (
    DECIDED,
    GONE,
    NO_BOX,
    NO_KEY,
    PAGE,
    JoinRefusedError,
    SiteJoining,
)
from opq_cloud.view.web.forms import SentForm, form_route, see_other
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import VISITOR, Visitor


class SiteJoinPages:
    """One page and its forms."""

    def __init__(self, context: AccountContext, joining: SiteJoining) -> None:
        self._context, self._joining = context, joining

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route(PAGE, self.sites_page, response_class=HTMLResponse)
        router.add_route(PAGE, form_route(self.change), methods=["POST"])
        return router

    def sites_page(self) -> Response:
        own_account(VISITOR.get())
        return self._page(VISITOR.get())

    def _page(
        self,
        visitor: Visitor,
        problem: str = "",
        code: int = 200,
        typed: Mapping[str, str] = MappingProxyType({}),
    ) -> HTMLResponse:
        found = self._joining.sites_of(visitor)
        return self._context.page(
            "own_sites.html",
            code=code,
            problem=problem,
            typed=typed,
            sites=found.sites,
            own=found.own,
            waiting=found.waiting,
        )

    def change(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """What either owner does: ask, withdraw; accept, refuse, remove."""
        own_account(visitor)
        done, box_id = form.text("do", 20), form.text("box_id", 32)
        base_url = self._context.base_url(request)
        decided = next((each for each in DECIDED if each == done), None)
        try:
            if decided is not None:
                self._joining.decide(visitor, box_id, decided, base_url)
            elif done not in ("ask", "withdraw"):
                raise JoinRefusedError(GONE, 404)
            elif done == "ask" and not form.text("site", KEY_CHARACTERS):
                raise JoinRefusedError(NO_KEY, 400)
            else:
                key = form.text("site", KEY_CHARACTERS) if done == "ask" else ""
                self._joining.ask(visitor, box_id, key, base_url)
        except JoinRefusedError as error:
            if str(error) == NO_BOX:
                raise HTTPException(error.code, NO_BOX) from None
            return self._page(visitor, str(error), error.code, form.fields if done == "ask" else {})
        return see_other(PAGE)
