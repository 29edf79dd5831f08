"""The properties that every sink has, apart from its own.

Source: reference/rules.md, E.3; names and defaults as there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from opq_proto.settings import configured
from opq_rules.batch import JsonObject


@dataclass(frozen=True, slots=True)
class SinkProperties:
    """Of one action; names as users write them. Times in ms, sizes in messages."""

    sendSingle: bool = False  # row by row instead of the emission as one array
    omitIfEmpty: bool = False
    dataTemplate: str = ""
    dataField: str = ""
    fields: tuple[str, ...] = ()
    format: Literal["json", "delimited", "protobuf"] = "json"
    schemaId: str = ""  # schema.Message, of protobuf
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
    resendIndicatorField: str = ""  # true in rows that were kept, and are sent now
    cleanCacheAtStop: bool = False
    resourceId: str = ""

    def check_for(self, wants: str) -> None:
        """`wants`: what a sink can use, "rows", "text" (rows too) or "" (bytes too). ValueError: not this."""
        made_bytes = ["encryption", "compression", *(["format"] if self.format == "protobuf" else [])]
        made_text = ["format"] if self.format == "delimited" else []
        if not self.dataField and not self.fields:  # those read the text as JSON
            made_text.append("dataTemplate")
        refused = {"rows": made_bytes + made_text, "text": made_bytes}.get(wants, [])
        if by := next((name for name in refused if getattr(self, name)), None):
            raise ValueError(f"{by}  gives no {wants}, which this sink wants; leave it out")


NAMES = frozenset(each.name for each in fields(SinkProperties))


def divided(properties: Mapping[str, object]) -> tuple[SinkProperties, JsonObject]:
    """What all sinks have, and what is the sink's own.

    Raises ValueError with every wrong property.
    """
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
