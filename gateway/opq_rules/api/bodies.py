"""Bodies of requests that have a fixed shape. Source: docs/reference/rules.md, A.1 to A.5."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

Free = dict[str, Any]
"""A rule, or a set of properties: the engine checks it."""


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """A body; it has no other members."""


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """The body of PATCH /configs; None: not given."""

    debug: bool | None = None
    consoleLog: bool | None = None
    fileLog: bool | None = None
    timezone: str | None = None


class Statement(_Body):
    sql: Annotated[
        str, msgspec.Meta(examples=['CREATE STREAM demo () WITH (DATASOURCE="demo", TYPE="mqtt")'])
    ]


class SingleRequest(_Body):
    """One request of a batch; `body` is text."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    body: str = ""


class Tags(_Body):
    tags: list[str]


class TagKeys(_Body):
    keys: list[str]


class ResetState(_Body, kw_only=True):
    """`params`: `{"streamName", "input": {offset}}`."""

    type: int = 1
    params: Free


class PackagePlace(_Body):
    """`file`: http(s)://... or file:///<uploads>/x.zip."""

    name: str
    file: str
    functions: list[str] = []
    shellParas: list[str] = []


class FunctionNames(_Body):
    functions: Annotated[list[str], msgspec.Meta(min_length=1)]


class UploadText(_Body):
    """`content` is text; `file` as in PackagePlace."""

    name: str
    content: str | None = None
    file: str | None = None


class RuleSet(_Body):
    """Either."""

    content: str | None = None
    file: str | None = None


class QueryText(_Body):
    sql: str
