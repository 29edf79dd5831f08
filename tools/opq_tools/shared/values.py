"""Values that a shell offers: Boxes, incidents and events of the store, names at the rule engine, scenarios.

They are read when the tab key is hit. What cannot be read, as where no system runs, is not offered.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from opq_proto.errors import OpqError

if TYPE_CHECKING:
    from opq_cloud.store import CloudStore
    from opq_tools.shared.rule_server import RuleServer

NEWEST_OFFERED = 50
"""Incidents and events that are offered."""
Values = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _values(found: Callable[[click.Context], Iterable[tuple[str, str]]]) -> Values:
    """Makes click's callback of a function that yields value and description."""

    def offered(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            pairs = list(found(context))
        except (OpqError, OSError, ImportError):
            return []
        return [
            CompletionItem(name, help=text or None) for name, text in pairs if name.startswith(incomplete)
        ]

    return offered


@contextmanager
def _store(context: click.Context) -> Iterator["CloudStore"]:
    from opq_tools.shared.opened_store import opened_store  # a light command that is completed needs no store

    with opened_store(context.params.get("mongo_uri"), context.params.get("data_dir")) as store:
        yield store


def _engine(context: click.Context) -> "RuleServer":
    from opq_tools.shared.rule_server import server_of

    return server_of(context.params)


@_values
def boxes(context: click.Context) -> Iterable[tuple[str, str]]:
    with _store(context) as store:
        known = dict.fromkeys(store.latest_measurements(), "")
        return sorted({**known, **{each.box_id: each.name for each in store.boxes()}}.items())


@_values
def incidents(context: click.Context) -> Iterable[tuple[str, str]]:
    from opq_cloud.view.web.words import headline

    with _store(context) as store:
        return [(str(each.incident_id), headline(each)) for each in store.incidents(limit=NEWEST_OFFERED)]


@_values
def events(context: click.Context) -> Iterable[tuple[str, str]]:
    with _store(context) as store:
        return [(str(each.event_id), each.because) for each in store.events(limit=NEWEST_OFFERED)]


def events_and_files(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """An event, or where no number of one begins so, a file."""
    return events(context, parameter, incomplete) or [CompletionItem(incomplete, type="file")]


@_values
def rules(context: click.Context) -> Iterable[tuple[str, str]]:
    return [(each["id"], each["status"]) for each in _engine(context).request("GET", "/rules")]


@_values
def streams(context: click.Context) -> Iterable[tuple[str, str]]:
    what: Any = context.params.get("what") or "stream"
    return [(name, "") for name in _engine(context).request("GET", f"/{what}s")]


@_values
def plugins(context: click.Context) -> Iterable[tuple[str, str]]:
    kind = context.params.get("kind")
    found = _engine(context).request("GET", "/plugins/packages")
    return [(each["name"], each["version"]) for each in found] if kind else []


@_values
def scenarios(context: click.Context) -> Iterable[tuple[str, str]]:
    """Those that are shipped; a shell offers files where none of them matches."""
    folder = resources.files("opq_sim").joinpath("scenarios")
    return sorted((each.name.removesuffix(".toml"), "") for each in folder.iterdir() if "toml" in each.name)
