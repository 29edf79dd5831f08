"""opqmauka: what Mauka publishes as JSON, one row per message. DATASOURCE: the topic.

`incident`: each incident that is new or has changed. `analysis.NAME`: the messages of an analysis. Mauka's
bus is PUB/SUB: what is published without a reader is in the store, and reaches no rule.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import zmq
from google.protobuf.message import DecodeError

from opq_plugins.sdk import Source as SourceOfSdk
from opq_plugins.sdk import SourceContext
from opq_proto.config.settings import configured
from opq_proto.errors import ConfigError, FrameError, KeyFileError
from opq_proto.keys.backend_keys import backend_address
from opq_proto.kit.service_sockets import local_endpoint
from opq_proto.kit.system_place import default_data_dir
from opq_proto.wire.mauka_pb2 import MaukaMessage
from opq_rules.sources.opqbox import read_published, subscribe
from opq_rules.values.batch import Row

INCIDENT = "incident"
"""Topic of incidents."""
ANALYSIS = "analysis."
"""Prefix of the topics of analyses; the plug-in's name follows."""


@dataclass(frozen=True, slots=True)
class Config:
    url: str = field(
        default="", metadata={"help": "of Mauka's bus, e.g. tcp://mauka.example:9883?curve=FOLDER"}
    )

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(("tcp://", "ipc://")):
            raise ValueError(f"url  is {self.url!r}; want tcp://host:port")


class Source(SourceOfSdk):
    def __init__(self, bus: str | None = None) -> None:
        """`bus`: the address, with its keys, where the stream has no `url`; None: the bus of the default data
        folder.
        """
        self._bus = bus

    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        config = configured(Config, properties)
        self._topic = datasource.strip()
        if self._topic != INCIDENT and not re.fullmatch(re.escape(ANALYSIS) + r"[A-Za-z0-9_]+", self._topic):
            raise ValueError(f"DATASOURCE  is {datasource!r}; want {INCIDENT} or {ANALYSIS}NAME")
        try:
            self._address = backend_address(
                config.url or self._bus or local_endpoint("bus-out", default_data_dir())
            )
            if self._address.folder is not None:
                self._address.client_keys()
        except (ConfigError, KeyFileError) as error:
            raise ValueError(f"url  {error}") from None

    def open(self, context: SourceContext) -> None:
        wanted = self._topic.encode()

        def rows(frames: Sequence[bytes]) -> list[Row]:
            return [row_of(frames[1])] if frames[0] == wanted else []  # a longer topic begins with ours

        with zmq.Context() as own, own.socket(zmq.SUB) as socket:
            subscribe(socket, self._address, [wanted])
            read_published(socket, f"message of Mauka on {self._topic}", rows, context)


def row_of(body: bytes) -> Row:
    """Makes the row of a message; raises FrameError where it has no JSON.

    Of an incident: the contract's keys; `kind`, its class; `change`: `incident` where it is new,
    `incident_changed`, or `incident_gone`, then with its `id` alone; `boxes`, `by`.
    """
    try:
        message = MaukaMessage.FromString(body)
        found = msgspec.json.decode(message.incident_json or message.analysis_json)
        if not message.incident_json:
            return {**found["values"], "box": found["box_id"], "analysis": found["analysis"]}
        incident: Row = found["incident"]
        row = {**incident, "change": found["kind"], "boxes": found["boxes"], "by": found.get("by")}
        return row if "class" not in incident else {**row, "kind": incident["class"]}
    except (DecodeError, msgspec.MsgspecError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FrameError(f"{type(error).__name__}: {error}") from None
