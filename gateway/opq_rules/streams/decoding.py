"""Payloads of a stream -> its records, many in one call; unreadable ones are counted, never raised."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from opq_rules.streams.definition import StreamDefinition
from opq_rules.streams.formats import JSON_ERRORS, decode_object, reader_of
from opq_rules.streams.schema import Conform, conforming
from opq_rules.values.batch import Metas, Row

Item = TypeVar("Item")
_SHOWN_BYTES = 60


class Decoded(NamedTuple):
    """`metas`: one for each of `rows`; `errors`: payloads or records left out; `why`: the last reason."""

    rows: list[Row]
    metas: Metas
    errors: int
    why: str


class StreamDecoder:
    """The decoder of one stream. `used`: columns to check with STRICT_VALIDATION; None: all."""

    __slots__ = ("_conform", "_fields", "_json", "_name", "_of_text", "_read", "strict")

    def __init__(
        self,
        definition: StreamDefinition,
        used: Collection[str] | None = None,
    ) -> None:
        self._name = definition.name
        self._json = definition.format == "json"
        self._of_text = definition.format in ("delimited", "urlencoded") or definition.type == "file"
        self._read = reader_of(definition)
        self._fields, self.strict = definition.fields, definition.strict_validation
        self._conform: Conform | None
        self.use_columns(used)

    def use_columns(self, used: Collection[str] | None) -> None:
        """Sets the columns that rules read, after the rules have changed."""
        self._conform = conforming(self._fields, self.strict, used, self._of_text)

    def decode(self, payloads: Sequence[bytes], metas: Metas = None) -> Decoded:
        """Decodes payloads as they were received."""
        if self._json:
            try:
                rows = list(map(decode_object, payloads))
            except JSON_ERRORS:  # or an array of objects
                return self._read_each(payloads, metas)
            return self.conform(rows, metas)
        return self._read_each(payloads, metas)

    def conform(self, rows: Sequence[Row], metas: Metas = None) -> Decoded:
        """Converts records that a source made itself to the declared columns."""
        conform = self._conform
        if conform is None:
            return Decoded(rows if type(rows) is list else list(rows), metas, 0, "")
        try:
            return Decoded(list(map(conform, rows)), metas, 0, "")
        except ValueError:
            name = f"{self._name}: "
            return _one_by_one(rows, metas, lambda row: [conform(row)], lambda row, error: f"{name}{error}")

    def _read_each(self, payloads: Sequence[bytes], metas: Metas) -> Decoded:
        read = _one_by_one(payloads, metas, self._read, self._unreadable)
        made = self.conform(read.rows, read.metas)
        return made._replace(errors=made.errors + read.errors, why=made.why or read.why)

    def _unreadable(self, payload: bytes, error: ValueError) -> str:
        return f"{self._name}: {error}; the payload begins {bytes(payload[:_SHOWN_BYTES])!r}"


def _one_by_one(
    items: Sequence[Item],
    metas: Metas,
    make: Callable[[Item], list[Row]],
    why_not: Callable[[Item, ValueError], str],
) -> Decoded:
    """The rows of each item, with its meta; an item that `make` refuses is counted and left out."""
    rows: list[Row] = []
    kept: list[Mapping[str, Any] | None] = []
    errors, why = 0, ""
    for index, item in enumerate(items):
        try:
            found = make(item)
        except ValueError as error:
            errors, why = errors + 1, why_not(item, error)
            continue
        rows += found
        if metas is not None:
            kept += [metas[index]] * len(found)
    return Decoded(rows, None if metas is None else kept, errors, why)
