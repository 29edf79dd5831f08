"""Requests to `/api/v1` and the reading of answers, without a socket."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import quote

import httpx

from opq_proto.errors import OpqError
from opq_tools.client.remote_records import (
    AnswerNotReadError,
    LiveNews,
    RemoteTrendRow,
    read_record,
)

T = TypeVar("T")
Values = Mapping[str, str | int | float | Sequence[str] | None]
PREFIX = "/api/v1"
REQUEST_TRIES = 4
"""Most tries of a request while View is overloaded (429, 503)."""
LONGEST_WAIT_S = 30.0


class ViewUnreachableError(OpqError):
    """View cannot be reached."""


class ApiRefusedError(OpqError):
    """View refuses the request; the text says what was wrong and what is allowed."""

    def __init__(self, status: int, detail: str, errors: Sequence[object] = ()) -> None:
        super().__init__(f"{detail} ({status})")
        self.status, self.detail, self.errors = status, detail, tuple(errors)


@dataclass(frozen=True, slots=True)
class RestCall(Generic[T]):
    """One request, with the function that reads its answer."""

    path: str
    read: Callable[[object], T]
    values: Values = field(default_factory=dict)

    def params(self) -> httpx.QueryParams:
        """Query parameters: None is left out, a list is repeated."""
        rows: list[tuple[str, str]] = []
        for name, value in self.values.items():
            if isinstance(value, str | int | float):
                rows.append((name, str(value)))
            elif value is not None:
                rows.extend((name, each) for each in value)
        return httpx.QueryParams(tuple(rows))


@dataclass(frozen=True, slots=True)
class ListPage(Generic[T]):
    """Some items, with the cursor of the next page (None on the last one)."""

    items: tuple[T, ...]
    next: str | None


def list_call(path: str, kind: type[T], **values: str | int | float | None) -> RestCall[ListPage[T]]:
    """The call for a page of a list; `class_` stands for `class`."""

    def read(answer: object) -> ListPage[T]:
        if not isinstance(answer, Mapping) or not isinstance(answer.get("items"), list):
            raise AnswerNotReadError(
                "the answer is not a list of items; check that a View runs at this address"
            )
        following = answer.get("next")
        items = tuple(read_record(kind, each) for each in answer["items"])
        return ListPage(items, following if isinstance(following, str) else None)

    return RestCall(path, read, {name.rstrip("_"): value for name, value in values.items()})


def one_call(path: str, kind: type[T]) -> RestCall[T]:
    return RestCall(path, lambda answer: read_record(kind, answer))


def trend_call(box_id: str, start: str, end: str, level: str) -> RestCall[tuple[RemoteTrendRow, ...]]:
    def read(answer: object) -> tuple[RemoteTrendRow, ...]:
        if not isinstance(answer, Mapping) or not isinstance(answer.get("rows"), list):
            raise AnswerNotReadError("the answer is not a trend; check that a View runs at this address")
        return tuple(read_record(RemoteTrendRow, each) for each in answer["rows"])

    return RestCall(
        f"/boxes/{quote(box_id, safe='')}/trend", read, {"from": start, "to": end, "level": level}
    )


def read_answer(answer: httpx.Response, call: RestCall[T]) -> T:
    """Reads an answer; raises as `check_answer`, and AnswerNotReadError."""
    check_answer(answer)
    try:
        found: object = answer.json()
    except ValueError:
        raise AnswerNotReadError(
            f"{answer.url}: the answer is not JSON; check that a View runs there"
        ) from None
    return call.read(found)


def check_answer(answer: httpx.Response) -> None:
    """Raises ApiRefusedError for a refusal; the body of the answer must have been read."""
    if answer.is_success:
        return
    try:
        found = answer.json()
    except ValueError:
        found = {}
    facts = found if isinstance(found, dict) else {}
    errors = facts.get("errors")
    text = str(facts.get("detail") or f"{answer.url} answers {answer.status_code}")
    raise ApiRefusedError(answer.status_code, text, errors if isinstance(errors, list) else ())


def wait_of(answer: httpx.Response, tries: int) -> float | None:
    """Seconds until the request may be repeated; None: not at all."""
    if answer.status_code not in (429, 503) or tries >= REQUEST_TRIES:
        return None
    text = answer.headers.get("retry-after", "1")
    wait_s = float(text) if text.isascii() and text.isdigit() else 1.0
    return wait_s if wait_s <= LONGEST_WAIT_S else None


def live_values(
    boxes: Iterable[str], region: str | None, rate: float | None, after: str | None
) -> dict[str, str]:
    """The query of `/live`."""
    wanted = {"box": ",".join(boxes), "region": region or "", "after": after or ""}
    if rate is not None:
        wanted["rate"] = f"{rate:g}"
    return {name: value for name, value in wanted.items() if value}


class NewsReader:
    """Turns lines of server-sent events into LiveNews (WHATWG HTML, 9.2.6)."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def accept_line(self, line: str) -> Iterator[LiveNews]:
        """Yields the event that this line completes, if any; ignores comments and `retry`."""
        if line:
            name, _, value = line.partition(":")
            if name:
                before = f"{self._fields[name]}\n" if name == "data" and name in self._fields else ""
                self._fields[name] = before + value.removeprefix(" ")
            return
        found, self._fields = self._fields, {}
        if "data" in found:
            try:
                facts: object = json.loads(found["data"])
            except ValueError:
                return
            if isinstance(facts, dict):
                yield LiveNews(found.get("event", "message"), facts, found.get("id", ""))
