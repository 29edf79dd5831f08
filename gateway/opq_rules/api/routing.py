"""Routes that are declared by functions, on Starlette alone.

    @routes.put("/rules/{rule_id}/tags")
    def tag(rule_id: str, body: Tags, force: bool = False) -> str: ...

A parameter named in the path has its part of the path, `body` the JSON of the request, `request` the
request itself; every other parameter is one of the query. Types are those of msgspec, also in /openapi.json.
An answer of text is sent as text, a Response as it is, and anything else as JSON.
"""

import asyncio
import inspect
import re
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar, get_type_hints

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from opq_rules.errors import CONFIGURATION, ENCODING, RuleError

Function = TypeVar("Function", bound=Callable[..., Any])
ReadBody = Callable[[Request], Awaitable[Any]]
BODY = "body"
"""Parameter of a handler that receives the decoded body."""
REQUEST = "request"
"""Parameter of a handler that receives the request itself."""
RETURN = "return"
"""Name under which a function's annotations have its result."""


class Json(Response):
    """A value as JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


@dataclass(frozen=True)
class Operation:
    """A method of a path, and the function that answers."""

    method: str
    path: str
    function: Callable[..., Any]
    status: int
    tag: str
    title: str
    read: ReadBody | None = None
    """Reads the body where it is not JSON of a fixed form."""

    @cached_property
    def types(self) -> dict[str, Any]:
        """Types of all parameters, and of the answer (RETURN)."""
        return get_type_hints(self.function, include_extras=True)

    @cached_property
    def in_path(self) -> list[str]:
        return re.findall(r"\{(\w+)", self.path)

    @cached_property
    def in_query(self) -> dict[str, Any]:
        """Parameters of the query with their default values."""
        parameters = inspect.signature(self.function).parameters
        others = {*self.in_path, BODY, REQUEST}
        return {name: each.default for name, each in parameters.items() if name not in others}

    @property
    def json_body(self) -> Any:
        """Type of its body, None: it has none, or one of another form."""
        return self.types.get(BODY) if self.read is None else None

    def route(self, threads: "RequestThreads") -> Route:
        decoder = None if self.json_body is None else msgspec.json.Decoder(self.json_body)
        is_async = inspect.iscoroutinefunction(self.function)

        async def answer(request: Request) -> Response:
            given = {name: self._read(name, request.path_params[name]) for name in self.in_path}
            query = request.query_params
            given |= {name: self._read(name, query[name]) for name in self.in_query if name in query}
            if REQUEST in self.types:
                given[REQUEST] = request
            if decoder is not None:
                given[BODY] = read_json(await request.body(), decoder)
            if self.read is not None:
                given[BODY] = await self.read(request)
            if is_async:
                found = await self.function(**given)
            else:
                found = await threads.run(partial(self.function, **given))
            if isinstance(found, Response):
                return found
            return (
                PlainTextResponse(found, self.status) if isinstance(found, str) else Json(found, self.status)
            )

        return Route(self.path, answer, methods=[self.method], name=self.title)

    def _read(self, name: str, text: str) -> Any:
        try:
            return msgspec.convert(text, self.types[name], strict=False)
        except msgspec.ValidationError as error:
            raise RuleError(f"{name}: {_plain(error)}; found {text[:100]!r}", CONFIGURATION) from None


class RequestThreads:
    """Threads in which requests are answered, `most` at once; the others wait.

    They are daemons, so that a long request does not delay the end of the process. Starlette's threads are
    those of anyio, which takes 7 MB.
    """

    def __init__(self, most: int = 40) -> None:
        self._free = asyncio.Semaphore(most)

    async def run(self, function: Callable[[], Any]) -> Any:
        """Calls the function in a thread; returns its result or raises its exception."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def finish(set_outcome: Callable[[Any], None], outcome: Any) -> None:
            if not done.done():  # the server has ended, and does not wait any more
                set_outcome(outcome)

        def call() -> None:
            try:
                outcome = done.set_result, function()
            except BaseException as error:
                outcome = done.set_exception, error
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(finish, *outcome)

        async with self._free:
            threading.Thread(target=call, name="rules-request", daemon=True).start()
            return await done


class Routes:
    """Routes of one subject. `prefix`: the beginning of their paths."""

    def __init__(self, tag: str, prefix: str = "") -> None:
        self.operations: list[Operation] = []
        self._tag, self._prefix = tag, prefix

    def add(
        self, method: str, path: str, status: int = 200, title: str = "", read: ReadBody | None = None
    ) -> Callable[[Function], Function]:
        """Adds a function as a route; `title`: of /openapi.json, where its name says too little."""

        def added(function: Function) -> Function:
            words = title or function.__name__.replace("_", " ")
            made = Operation(method, self._prefix + path, function, status, self._tag, words, read)
            self.operations.append(made)
            return function

        return added

    def get(self, path: str, title: str = "") -> Callable[[Function], Function]:
        return self.add("GET", path, title=title)

    def post(
        self, path: str, status: int = 200, title: str = "", read: ReadBody | None = None
    ) -> Callable[[Function], Function]:
        return self.add("POST", path, status, title, read)

    def put(self, path: str, title: str = "") -> Callable[[Function], Function]:
        return self.add("PUT", path, title=title)

    def patch(self, path: str, status: int = 200) -> Callable[[Function], Function]:
        return self.add("PATCH", path, status)

    def delete(self, path: str, title: str = "") -> Callable[[Function], Function]:
        return self.add("DELETE", path, title=title)


def read_json(content: bytes, decoder: "msgspec.json.Decoder[Any]") -> Any:
    """Reads the JSON of a body. Raises RuleError."""
    try:
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        raise RuleError(_plain(error), CONFIGURATION) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        why = str(error) if content.strip() else "it is empty"
        raise RuleError(f"the body is not JSON: {why}", ENCODING) from None


def _plain(error: msgspec.ValidationError) -> str:
    """The error with the place first: `sql: Expected str, got int`."""
    text, _, place = str(error).replace("`", "").partition(" - at $")
    return f"{place.removeprefix('.')}: {text}" if place else text


def openapi(title: str, version: str, operations: Iterable[Operation]) -> dict[str, Any]:
    """The OpenAPI document of all operations."""
    paths: dict[str, dict[str, Any]] = {}
    given = list(operations)
    types = [each.json_body for each in given if each.json_body is not None]
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    for each in given:
        path = re.sub(r":\w+\}", "}", each.path)
        paths.setdefault(path, {})[each.method.lower()] = _described(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {"schemas": components},
    }


def _described(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "done"}
    found = operation.types.get(RETURN, Response)
    if _is_shown(found):
        kind = "text/plain" if found is str else "application/json"
        answer["content"] = {kind: {"schema": _schema(found)}}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _schema(operation.types[name])}
        for name in operation.in_path
    ]
    for name, default in operation.in_query.items():
        shown: Mapping[str, Any] = {} if default is None else {"default": default}
        schema = {**_schema(operation.types[name]), **shown}
        parameters.append({"name": name, "in": "query", "required": False, "schema": schema})
    described: dict[str, Any] = {
        "summary": operation.title,
        "tags": [operation.tag],
        "parameters": parameters,
        "responses": {str(operation.status): answer},
    }
    if operation.json_body is not None:
        content = {"application/json": {"schema": _schema(operation.json_body)}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _is_shown(found: Any) -> bool:
    """Whether a type has a schema; a Request or a Response has none."""
    return not (inspect.isclass(found) and issubclass(found, (Request, Response)))


def _schema(found: Any) -> dict[str, Any]:
    return msgspec.json.schema_components([found], ref_template="#/components/schemas/{name}")[0][0]
