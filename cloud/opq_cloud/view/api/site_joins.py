"""Joining another owner's site by `/api/v1`: what the page of sites does, with a token for sites."""

from typing import Annotated, Literal

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from opq_cloud.store.records.accounts.rights import Action
from opq_cloud.store.site_key import KEY_CHARACTERS
from opq_cloud.view.api.ordering import body_of, read_request_body, refusals
from opq_cloud.view.api.problems import RestProblemError
from opq_cloud.view.pages.account.account_context import AccountContext
from opq_cloud.view.pages.account.site_joining import NO_KEY, JoinRefusedError, SiteJoining
from opq_cloud.view.web.forms import visitor_after_body
from opq_cloud.view.web.shares import PageRouter, in_thread
from opq_cloud.view.web.visitors import VISITOR, Visitor


class JoinAsk(BaseModel):
    """Your Box asks (`ask`, with the site's key) or withdraws; you accept, refuse or remove another's."""

    model_config = ConfigDict(extra="forbid")

    do: Literal["ask", "withdraw", "accept", "refuse", "remove"]
    box_id: Annotated[str, Field(min_length=1, max_length=32, examples=["4"])]
    site: Annotated[str, Field(max_length=KEY_CHARACTERS, examples=["mill~3f9a2c41d07b"])] = ""
    """The key of the site to join, which its owner hands out."""


class JoinedSite(BaseModel):
    """A site about which you decide."""

    key: str
    name: str
    members: list[str]
    """Boxes of other owners in it."""
    asking: list[str]
    """Boxes that ask to join it."""


class WaitingBox(BaseModel):
    """A Box of yours that asks to join a site."""

    box_id: str
    site: str


class SiteJoins(BaseModel):
    """Your sites, and what your Boxes wait for."""

    sites: list[JoinedSite]
    waiting: list[WaitingBox]


class SiteJoinRoutes:
    """One address: GET reads, POST changes."""

    def __init__(self, accounts: AccountContext, joining: SiteJoining) -> None:
        self._accounts, self._joining = accounts, joining

    def router(self) -> PageRouter:
        router = PageRouter()
        path = "/site-joins"
        router.add_api_route(path, self.joins, response_model=SiteJoins, responses=refusals(403))
        router.add_api_route(
            path,
            self.change,
            methods=["POST"],
            response_model=SiteJoins,
            openapi_extra=body_of(JoinAsk),
            responses=refusals(403, 413),
        )
        return router

    def joins(self) -> Response:
        """Your sites with the Boxes of other owners in them, those that ask, and what yours wait for."""
        _check_joins(VISITOR.get())
        return self._answer(VISITOR.get())

    async def change(self, request: Request) -> Response:
        """Ask to join a site with a Box, withdraw that; accept, refuse or remove another owner's Box."""
        _check_joins(VISITOR.get())
        asked = await read_request_body(request, JoinAsk, 1024)
        visitor = await visitor_after_body(request)
        _check_joins(visitor)
        try:
            await in_thread(self._change, visitor, asked, self._accounts.base_url(request))
        except JoinRefusedError as error:
            raise RestProblemError(error.code, str(error)) from None
        return await in_thread(self._answer, visitor)

    def _change(self, visitor: Visitor, asked: JoinAsk, base_url: str) -> None:
        if asked.do == "ask":
            if not asked.site:
                raise JoinRefusedError(NO_KEY, 400)
            self._joining.ask(visitor, asked.box_id, asked.site, base_url)
        elif asked.do == "withdraw":
            self._joining.ask(visitor, asked.box_id, "", base_url)
        else:
            self._joining.decide(visitor, asked.box_id, asked.do, base_url)

    def _answer(self, visitor: Visitor) -> Response:
        found = self._joining.sites_of(visitor)
        sites = [
            JoinedSite(
                key=each.key,
                name=each.name,
                members=[box.box_id for box in each.members],
                asking=[box.box_id for box in each.asking],
            )
            for each in found.sites
        ]
        waiting = [WaitingBox(box_id=box_id, site=key) for box_id, key in found.waiting]
        body = SiteJoins(sites=sites, waiting=waiting).model_dump()
        return JSONResponse(body, 200, {"Cache-Control": "no-store"})


def _check_joins(visitor: Visitor) -> None:
    """Raises RestProblemError 403 for a visitor without a token for sites."""
    if not visitor.may(Action.JOIN_BY_API):
        raise RestProblemError(403, "This needs a token with the scope sites; the page Account makes one.")
