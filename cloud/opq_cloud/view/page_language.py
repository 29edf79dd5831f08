"""Sets the language of each request's answer; texts for templates, and for scripts.

It is apart from `languages.py`, which commands without a web server import too.
"""

from fastapi import APIRouter, HTTPException, Response
from markupsafe import Markup

from opq_cloud.view.accounts.visitors import VISITOR
from opq_cloud.view.guard import App, Receive, Scope, Send
from opq_cloud.view.languages import LANGUAGE, Languages, _, plain_ngettext

NOT_TRANSLATED = ("/api", "/static", "/feeds", "/health", "/metrics")
"""Paths for programs: their answers are English."""
YEAR_S = 31_536_000
MAX_KEPT = 10_000
"""Texts that a language keeps as Markup; there are some 1,600, and few more that are made of data."""


def marked_text(text: str, /, **places: object) -> Markup:
    """`_` for templates: what fills the places is escaped, the text itself may have tags."""
    language = LANGUAGE.get()
    kept = language.marked.get(text)
    if kept is None:
        found = language.texts.gettext(text)
        kept = Markup(found), Markup(found % {}) if "%(" not in found else Markup()
        if len(language.marked) < MAX_KEPT:
            language.marked[text] = kept
    return kept[1] if kept[1] and not places else kept[0] % places


def marked_ngettext(one: str, many: str, num: int, /, **places: object) -> Markup:
    """`ngettext` for templates."""
    return Markup(plain_ngettext(one, many, num)) % {"num": num, **places}


class PageLanguage:
    """ASGI middleware that sets the language of the request's answer.

    Inside the gate it knows the account. Outside of the gate it sets the browser's language, for what the
    gate itself answers. Nothing is set back, because each request has a task of its own, and the page of a
    failure is made after all middlewares have ended.
    """

    def __init__(self, app: App, languages: Languages) -> None:
        self._app = app
        self._languages = languages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(NOT_TRANSLATED):
            account = VISITOR.get().account
            accepted = b",".join(value for name, value in scope["headers"] if name == b"accept-language")
            wanted = account.language if account else ""
            LANGUAGE.set(self._languages.chosen(wanted, accepted.decode("latin-1")))
        await self._app(scope, receive, send)


def language_routes(languages: Languages) -> APIRouter:
    """The route of the texts for scripts. Its address changes with them, so that browsers may keep them."""

    def texts(file: str) -> Response:
        language = languages.of_scripts_path(file)
        if language is None:
            raise HTTPException(404, _("There are no such texts."))
        headers = {"Cache-Control": f"public, max-age={YEAR_S}, immutable"}
        return Response(language.for_scripts, media_type="application/json", headers=headers)

    router = APIRouter(include_in_schema=False)
    router.add_api_route("/texts/{file}", texts)
    return router
