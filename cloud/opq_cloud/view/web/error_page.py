"""The content of an error page: a heading, advice, and links.

Pure. A page that is hidden from the visitor and one that does not exist give the same answer, so that it
reveals nothing.
"""

from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

from opq_cloud.store.records.accounts.rights import Action
from opq_cloud.view.web.forms import own_path
from opq_cloud.view.web.visitors import Visitor

HEADINGS = {
    400: "This cannot be used",
    401: "Sign in first",
    403: "This is not allowed",
    404: "Nothing is here",
    405: "Nothing is here",
    409: "This was changed meanwhile",
    413: "This is too large",
    429: "Too often",
    500: "This page failed",
    503: "Not available now",
}
RETRY_EVERY_S = 5
"""How often a page that is not available tries again."""
MAX_BACK_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class ErrorWays:
    """What `error.html` shows in addition to the text of the failure."""

    heading: str
    advice: str
    """Empty where the text says everything."""
    links: tuple[tuple[str, str], ...]
    """(words, path), the most likely one first."""
    retries: bool
    """Whether the page reloads itself."""


def error_ways(code: int, visitor: Visitor, path: str, method: str = "GET", came_from: str = "") -> ErrorWays:
    """`path` and `came_from` (the page of a form) are paths of ours, with their queries."""
    heading = HEADINGS.get(code, HTTPStatus(code).phrase)
    reads = method in ("GET", "HEAD")
    wrote = not reads or code == 400
    back = own_path(came_from, "") if wrote and len(came_from) <= MAX_BACK_CHARACTERS else ""
    leads_on = back and code != 401 and (back != path or not reads)
    first = [("Back to the form", back)] if leads_on else []
    rest = [("Boxes", "/"), ("Incidents", "/incidents")]
    if code in (401, 403, 404):
        first += _ways_in(code, visitor, path if reads else back or "/")
        rest.append(("Search", "/search"))
    if code in (500, 503) and reads:
        first.append(("Try again", own_path(path)))
    return ErrorWays(heading, _advice(code, visitor), (*first, *rest), code == 503 and reads)


def _ways_in(code: int, visitor: Visitor, path: str) -> list[tuple[str, str]]:
    if not visitor.accounts_in_use:
        return [("How the first account is made", "/sign-in")] if code == 401 else []
    if visitor.account is None:
        return [("Sign in", f"/sign-in?next={quote(own_path(path), safe='')}")]
    return [("Your Boxes", "/account/boxes")]


def _advice(code: int, visitor: Visitor) -> str:
    if code == 401:
        if not visitor.accounts_in_use:
            return "There is no account here yet. Until then, only View's own machine can open this page."
        return "If you have no account, ask an administrator of this View for an invitation."
    if code in (403, 404) and visitor.accounts_in_use:
        if visitor.account is None:
            return "Some pages need a sign-in: the owner of a Box decides who sees it."
        if not visitor.everything:
            return (
                "You see your own Boxes, those that are shared with you, and public ones. The owner of "
                "a Box can share it, an administrator can change your role."
            )
        refused = code == 403 and not visitor.may(Action.ADMINISTER)
        return "An administrator of this View can change your role." if refused else ""
    if code == 429:
        return "Wait a minute, then try again."
    if code == 500:
        return "Try again. If it fails again, report the time (UTC) to the administrator of this View."
    if code == 503:
        return "Boxes continue to measure, and gateways keep their data as long as their disks have room."
    return ""
