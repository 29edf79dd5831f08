"""The properties of every sink, and their effect on rows. Source: docs/reference/rules.md, E.3."""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from opq_proto.config.settings import configured
from opq_rules.delivery.protobuf import writer
from opq_rules.delivery.template import compiled_template
from opq_rules.functions.conversion import compressor
from opq_rules.streams.protobuf import message_class
from opq_rules.values.batch import JsonObject, Row


@dataclass(frozen=True, slots=True)
class SinkProperties:
    """Properties that every type of sink has, named as users write them. Times in ms, sizes in messages."""

    sendSingle: bool = False  # sends row by row instead of the emission as one array
    omitIfEmpty: bool = False
    dataTemplate: str = ""
    dataField: str = ""
    fields: tuple[str, ...] = ()
    format: Literal["json", "delimited", "protobuf"] = "json"
    schemaId: str = ""  # schema.Message, for protobuf
    delimiter: str = ","
    compression: Literal["", "zlib", "gzip", "flate", "zstd"] = ""
    encryption: Literal["", "aes"] = ""
    encryptionKeyFile: str = ""
    batchSize: int = field(default=0, metadata={"minimum": 0, "maximum": 1_000_000})
    lingerInterval: int = field(default=0, metadata={"minimum": 0, "maximum": 3_600_000, "ms": True})
    bufferLength: int = field(default=1024, metadata={"minimum": 1, "maximum": 10_000_000})
    concurrency: int = field(default=1, metadata={"minimum": 1, "maximum": 1})  # order is kept
    retryInterval: int = field(default=1000, metadata={"minimum": 1, "maximum": 3_600_000, "ms": True})
    retryCount: int = field(default=0, metadata={"minimum": 0, "maximum": 1_000_000})
    enableCache: bool = False
    memoryCacheThreshold: int = field(default=1024, metadata={"minimum": 0, "maximum": 1_000_000})
    maxDiskCache: int = field(default=1_024_000, metadata={"minimum": 0, "maximum": 100_000_000})
    bufferPageSize: int = field(default=256, metadata={"minimum": 1, "maximum": 100_000})
    resendInterval: int = field(default=0, metadata={"minimum": 0, "maximum": 3_600_000, "ms": True})
    resendIndicatorField: str = ""  # true in rows that are sent late
    cleanCacheAtStop: bool = False
    resourceId: str = ""

    def check_for(self, wants: str) -> None:
        """Raises ValueError: no result for a sink that `wants` rows, json (or text), text, "" (all)."""
        made_bytes = ["encryption", "compression", *(["format"] if self.format == "protobuf" else [])]
        made_text = ["format"] if self.format == "delimited" else []
        if not self.dataField and not self.fields:  # those read the text as JSON
            made_text.append("dataTemplate")
        refused = {
            "rows": made_bytes + made_text,
            "json": made_bytes + [name for name in made_text if name != "dataTemplate"],
            "text": made_bytes,
        }.get(wants, [])
        if by := next((name for name in refused if getattr(self, name)), None):
            what = "rows" if wants == "json" else wants
            raise ValueError(f"{by}  does not give {what}, which this sink needs; leave it out")


NAMES = frozenset(each.name for each in fields(SinkProperties))


def divided(properties: Mapping[str, object]) -> tuple[SinkProperties, JsonObject]:
    """The common properties of all sinks, and the sink's own. Raises ValueError with every problem."""
    shared = {key: value for key, value in properties.items() if key in NAMES}
    own = {key: value for key, value in properties.items() if key not in NAMES}
    config = configured(SinkProperties, shared)
    if config.dataTemplate and config.format != "json":
        raise ValueError("dataTemplate  writes its own text; leave `format` at json")
    if bool(config.encryption) != bool(config.encryptionKeyFile):
        raise ValueError("encryption and encryptionKeyFile  go together: aes, and the file with its key")
    if (config.format == "protobuf") != bool(config.schemaId):
        raise ValueError("schemaId  goes with format protobuf: schema.Message")
    if config.format == "protobuf" and not config.sendSingle:
        raise ValueError("format  protobuf makes a message of each row; set sendSingle to true")
    return config, own


_ENCODE = msgspec.json.Encoder().encode
NONCE_BYTES = 12
_KEY_SIZES = (16, 24, 32)


def transformer(properties: SinkProperties) -> Callable[[object], object]:
    """A function of a list of rows, or (with sendSingle) of one row, that gives what the sink collects.

    Rows stay unchanged where nothing is configured, so that a sink can encode in its own way.
    Raises ValueError: the template does not parse,
    a package is missing, a file contains no key.
    """
    steps: list[Callable[[object], object]] = []
    if properties.dataTemplate:
        steps.append(compiled_template(properties.dataTemplate))
        if properties.dataField or properties.fields:
            steps.append(_parsed)
    if properties.dataField:
        steps.append(lambda data: _below(data, properties.dataField))
    if properties.fields:
        steps.append(lambda data: _each(data, lambda row: {k: row[k] for k in properties.fields if k in row}))
    if properties.format == "delimited":
        steps.append(lambda data: delimited(data, properties.delimiter, properties.fields))
    if properties.format == "protobuf":
        steps.append(writer(message_class(properties.schemaId)))
    if properties.compression:
        compress = compressor(properties.compression)
        steps.append(lambda data: compress(encoded(data)))
    if properties.encryption:
        encrypt = encryptor(properties.encryptionKeyFile)
        steps.append(lambda data: encrypt(encoded(data)))

    def transform(data: object) -> object:
        for step in steps:
            data = step(data)
        return data

    return transform


def encoded(data: object) -> bytes:
    """Bytes of a payload: bytes and text as they are, anything else as JSON."""
    if isinstance(data, bytes):
        return data
    return data.encode() if isinstance(data, str) else _ENCODE(data)


def rows_of(sink: str, data: object) -> list[Row]:
    """The rows that a sink collects. Raises ValueError where they are not rows."""
    rows: list[Any] = data if isinstance(data, list) else [data]
    for row in rows:
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise ValueError(f"{sink} wants rows, not {kind}; leave out dataTemplate and format")
    return rows


def delimited(data: object, delimiter: str, columns: Sequence[str]) -> str:
    """Lines without header: the values in the order of `columns`, or of the first row's columns."""
    rows = [row for row in (data if isinstance(data, list) else [data]) if isinstance(row, dict)]
    names = list(columns) or (list(rows[0]) if rows else [])
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter or ",", lineterminator="\n")
    for row in rows:
        writer.writerow([row.get(name) for name in names])
    return text.getvalue().removesuffix("\n")


def _parsed(text: object) -> object:
    try:
        return msgspec.json.decode(str(text))
    except msgspec.DecodeError as error:
        raise ValueError(
            f"dataTemplate does not give JSON, which dataField and fields need: {error}"
        ) from error


def _each(data: object, pick: Callable[[Row], Row]) -> object:
    if isinstance(data, list):
        return [pick(row) for row in data if isinstance(row, dict)]
    return pick(data) if isinstance(data, dict) else data


def _below(data: object, path: str) -> object:
    def at(row: object) -> object:
        for name in path.split("."):
            row = row.get(name) if isinstance(row, dict) else None
        return row

    return [at(row) for row in data] if isinstance(data, list) else at(data)


def encryptor(key_file: str) -> Callable[[bytes], bytes]:
    """AES-GCM of each payload. The result is nonce (12 bytes), ciphertext, tag (16).

    The key is in a file: 16, 24 or 32 bytes, or as many in hexadecimal. It is read when the sink starts.
    Raises ValueError: the file cannot be read or contains no key. Source: NIST SP 800-38D; with random nonces
    a key is good for 2**32 payloads.
    """
    cipher = AESGCM(_key(key_file))

    def encrypt(content: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + cipher.encrypt(nonce, content, None)

    return encrypt


def _key(key_file: str) -> bytes:
    try:
        with Path(key_file).open("rb") as file:
            content = file.read(4096)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"encryptionKeyFile  {key_file[:200]}: {reason}") from None
    try:
        as_text = bytes.fromhex(content.decode("ascii"))
    except ValueError:
        as_text = b""
    for key in (as_text, content):
        if len(key) in _KEY_SIZES:
            return key
    raise ValueError(f"encryptionKeyFile  {key_file[:200]}: want 16, 24 or 32 bytes, or their hexadecimal")
