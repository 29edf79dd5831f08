"""`/account/views`: lists, opens, renames and deletes the views of the past that an account has saved."""

import re
from urllib.parse import urlsplit

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.store.records.saved_views import MAX_SAVED, SavedViewRecords
from opq_cloud.view.accounts.account_context import AccountContext
from opq_cloud.view.accounts.account_pages import own_account
from opq_cloud.view.accounts.forms import SentForm, form_route, own_path, see_other
from opq_cloud.view.accounts.visitors import VISITOR, Visitor
from opq_cloud.view.registry import BOX_ID

NAME_CHARACTERS = 80
PATH_CHARACTERS = 1000
SAVED = re.compile(rf"/(incidents|compare|calendar|boxes/{BOX_ID.pattern})")
"""The pages whose address may be saved."""
KIND_WORDS = {
    "incidents": "Incidents",
    "compare": "Comparison",
    "calendar": "Calendar",
    "boxes": "Box",
}


class SavedViewPages:
    """The list and the forms that change it; the form that saves a view is on the page itself."""

    def __init__(self, context: AccountContext) -> None:
        self._context = context
        self._records = SavedViewRecords(context.people.documents)

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/account/views", self.list_page, response_class=HTMLResponse)
        router.add_api_route("/account/views", form_route(self.save), methods=["POST"])
        router.add_api_route("/account/views/{view_id}", form_route(self.rename), methods=["POST"])
        router.add_api_route("/account/views/{view_id}/delete", form_route(self.delete), methods=["POST"])
        return router

    def list_page(self) -> HTMLResponse:
        account = own_account(VISITOR.get())
        views = self._records.saved(account.account_id)
        rows = [(each, KIND_WORDS[each.path.split("/")[1].partition("?")[0]]) for each in views]
        return self._context.page("saved_views.html", rows=rows, most=NAME_CHARACTERS)

    def save(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = own_account(visitor)
        path = own_path(form.text("address", PATH_CHARACTERS), "")
        if not path or not SAVED.fullmatch(urlsplit(path).path) or urlsplit(path).fragment:
            raise HTTPException(
                400, "Only the list of incidents, a Box, a comparison or a calendar is saved."
            )
        if self._records.save(account.account_id, _name(form), path) is None:
            raise HTTPException(409, f"There are {MAX_SAVED} saved views; delete one first.")
        return see_other("/account/views")

    def rename(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account_id, view_id = own_account(visitor).account_id, str(request.path_params["view_id"])
        known = {each.view_id for each in self._records.saved(account_id)}
        if view_id not in known or not self._records.rename(account_id, view_id, _name(form)):
            raise HTTPException(404, "You have no such saved view.")
        return see_other("/account/views")

    def delete(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account_id = own_account(visitor).account_id
        if not self._records.remove(account_id, str(request.path_params["view_id"])):
            raise HTTPException(404, "You have no such saved view.")
        return see_other("/account/views")


def _name(form: SentForm) -> str:
    name = form.text("name", NAME_CHARACTERS)
    if not name:
        raise HTTPException(400, "A saved view needs a name.")
    return name
