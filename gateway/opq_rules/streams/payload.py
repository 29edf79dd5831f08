"""Payload: a column that is itself encoded, `{"site": "roof", "payload": "eyJ2IjoxfQ=="}`.

Its content replaces the column in the record; an array in it makes one record each. With `payloadBatchField`
that column is a list of such objects, and all of them are added to the one record; later ones win.

Source: docs/reference/rules.md, E.1.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from opq_proto.settings import configured
from opq_rules.batch import JsonObject, Row
from opq_rules.streams.definition import FORMATS
from opq_rules.streams.formats import reader
from opq_rules.streams.schemas import Schemas

Unpack = Callable[[Row], list[Row]]


@dataclass(frozen=True, slots=True)
class Payload:
    """Properties that any source has in addition to its own."""

    payloadField: str = ""
    payloadBatchField: str = ""
    payloadFormat: str = ""
    payloadSchemaId: str = ""
    payloadDelimiter: str = ","

    def __post_init__(self) -> None:
        if bool(self.payloadField) != bool(self.payloadFormat):
            raise ValueError(
                "payloadField and payloadFormat  go together: the column, and the format of its content"
            )
        if not self.payloadFormat:
            if self.payloadBatchField or self.payloadSchemaId:
                raise ValueError("payloadFormat  missing: the format of the payload")
        elif self.payloadFormat not in FORMATS:
            raise ValueError(f"payloadFormat  is {self.payloadFormat!r}; want one of {', '.join(FORMATS)}")
        if (self.payloadFormat == "protobuf") != bool(self.payloadSchemaId):
            raise ValueError("payloadSchemaId  goes with payloadFormat protobuf")


NAMES = frozenset(each.name for each in fields(Payload))


def divided_payload(properties: Mapping[str, object]) -> tuple[Payload | None, JsonObject]:
    """The properties of payloads (None: none), and the others. Raises ValueError with every problem."""
    own = {key: value for key, value in properties.items() if key not in NAMES}
    if len(own) == len(properties):
        return None, own
    made: Payload = configured(Payload, {key: properties[key] for key in properties if key in NAMES})
    return (made if made.payloadField else None), own


def unpacker(payload: Payload, schemas: Schemas) -> Unpack:
    """A function record -> records, or ValueError. Raises ValueError: an unknown schema."""
    if payload.payloadSchemaId:
        schemas.message(payload.payloadSchemaId)
    read = reader(payload.payloadFormat, payload.payloadSchemaId, payload.payloadDelimiter, None, schemas)
    name, batch = payload.payloadField, payload.payloadBatchField

    def inner(row: Row) -> list[Row]:
        if name not in row:
            raise ValueError(f"no column {name}, which has the payload")
        rest = {key: value for key, value in row.items() if key != name}
        try:
            return [{**rest, **each} for each in read(_bytes(row[name]))]
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def merged(row: Row) -> list[Row]:
        found = row.get(batch)
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise ValueError(f"column {batch}: want a list of objects with {name}")
        whole = {key: value for key, value in row.items() if key != batch}
        for each in found:
            for one in inner(each):
                whole |= one
        return [whole]

    return merged if batch else inner


def _bytes(value: object) -> bytes:
    """Decodes base64, the form of bytes in JSON; other text is taken as it is."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError(f"is {type(value).__name__}; want bytes, or their base64")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        return value.encode()
