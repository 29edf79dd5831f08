"""opqbox: what Boxes measure, one row per window. DATASOURCE: Boxes (`1,4`), or `*` for all.

Each Box's rows of one kind are in the order of time. A row that comes after a later one is left out, and
reported; so are rows that a gateway sends again from its disk, unless `backfilled` is set. What overtakes
its window, a crossing, has its own stream: opqcrossing.py.

Inside Makai and the gateway it gets the service's own Measurements, without a socket. With `url`, or outside
of them, it subscribes to a triggering broker (PUB of the original: topic, protobuf), unencrypted or, with key
files, over CURVE. The columns: measurement_columns.py; the gateway's own: `opq_gateway/rules`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import zmq

from opq_plugins.sdk import Source as SourceOfSdk
from opq_plugins.sdk import SourceContext
from opq_proto.config.settings import configured
from opq_proto.errors import FrameError, KeyFileError
from opq_proto.keys.backend_keys import BackendAddress
from opq_proto.keys.key_files import read_secret_file, read_server_key
from opq_proto.kit.service_sockets import local_endpoint
from opq_proto.kit.system_place import default_data_dir
from opq_proto.kit.zmq_inbox import waiting_messages
from opq_proto.measurement.wire import measurement_from_frames
from opq_proto.wire.frames import topic
from opq_rules.feeds.local_feed import LocalFeed
from opq_rules.streams.columns import KnownColumns
from opq_rules.streams.measurement_columns import MEASUREMENT_COLUMNS, OVERTAKING_KINDS
from opq_rules.streams.measurement_row import row_of
from opq_rules.values.batch import Row

ALL = "*"
POLL_S = 0.2
MAX_MESSAGES = 1000
"""Records emitted at once."""
LARGEST_BYTES = 1 << 20
MEASUREMENTS_WAITING = 100_000
SET_BACK_MS = 5_000
"""A row that is older than the last one by more comes from a clock that was set back."""


@dataclass(frozen=True, slots=True)
class Config:
    url: str = field(default="", metadata={"help": "of a triggering broker, e.g. tcp://makai.example:9881"})
    serverKey: str = field(default="", metadata={"help": "file with the broker's public key, for CURVE"})
    ownKey: str = field(default="", metadata={"help": "file with this subscriber's secret key"})
    backfilled: bool = field(default=False, metadata={"help": "also rows of the past, out of order"})
    """Names in eKuiper's style, as for all sources."""

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(("tcp://", "ipc://")):
            raise ValueError(f"url  is {self.url!r}; want tcp://host:port")
        if bool(self.serverKey) != bool(self.ownKey):
            raise ValueError("serverKey, ownKey  go together: give both files, or leave both out")


def boxes_of(datasource: str) -> frozenset[str] | None:
    """The Boxes' numbers; None: all. Raises ValueError for a name that is not the number of a Box."""
    if datasource.strip() == ALL:
        return None
    names = [name.strip() for name in datasource.split(",")]
    if wrong := [name for name in names if not (name.isascii() and name.isdigit())]:
        raise ValueError(f"DATASOURCE  names {wrong[0]!r}; want numbers of Boxes (1,4), or * for all")
    return frozenset(str(int(name)) for name in names)


class RowsInOrder:
    """Passes on rows, each Box's in the order of time. `kinds`: these; None: all but OVERTAKING_KINDS."""

    def __init__(
        self, boxes: Collection[str] | None, kinds: Collection[str] | None, backfilled: bool = False
    ) -> None:
        self._boxes, self._kinds, self._backfilled = boxes, kinds, backfilled
        self._last: dict[tuple[str, str], int] = {}
        """Box and kind -> time of the last row, Unix ms."""
        self.late = 0

    def accept(self, rows: Iterable[Row]) -> list[Row]:
        last, found = self._last, []
        for row in rows:
            box, kind = row["box"], row.get("kind", "window")
            if self._boxes is not None and box not in self._boxes:
                continue
            if kind in OVERTAKING_KINDS if self._kinds is None else kind not in self._kinds:
                continue
            if row.get("backfilled"):
                if self._backfilled:
                    found.append(row)
                continue
            ms, known_ms = row.get("timestamp_ms", 0), last.get((box, kind), 0)
            if known_ms - SET_BACK_MS <= ms < known_ms:
                self.late += 1
                continue
            last[box, kind] = ms
            found.append(row)
        return found


class Source(SourceOfSdk):
    KINDS: ClassVar[Collection[str] | None] = None
    """Kinds of its rows; None: all but OVERTAKING_KINDS."""

    def __init__(
        self,
        local: LocalFeed[Any] | None = None,
        rows: Callable[[Sequence[Any]], list[Row]] = list,
        columns: KnownColumns = MEASUREMENT_COLUMNS,
    ) -> None:
        """`rows`: makes rows of the items of `local`; `columns`: what these have."""
        self._local, self._rows, self._columns = local, rows, columns

    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)
        self._boxes = boxes_of(datasource)
        self._keys = _keys(self._config)

    @property
    def columns(self) -> KnownColumns:
        """The columns of its rows, once it is configured."""
        return MEASUREMENT_COLUMNS if self._local is None or self._config.url else self._columns

    def open(self, context: SourceContext) -> None:
        if self._local is not None and not self._config.url:
            read_here(self._local, self._rows, self._order(context), context)
            return
        in_order = self._order(context)

        def rows(frames: Sequence[bytes]) -> list[Row]:
            measurement = measurement_from_frames(frames)
            return in_order([row_of(measurement)] if measurement.is_window else [])

        with zmq.Context() as own, own.socket(zmq.SUB) as socket:
            socket.setsockopt(zmq.RCVHWM, MEASUREMENTS_WAITING)
            if self._keys is not None:
                socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = self._keys
            address = BackendAddress(self._config.url or local_endpoint("measurements", default_data_dir()))
            subscribe(socket, address, topics_of(self._boxes))
            read_published(socket, "Measurement", rows, context, lambda: in_order([]))

    def _order(self, context: SourceContext) -> Callable[[list[Row]], list[Row]]:
        order = RowsInOrder(self._boxes, self.KINDS, self._config.backfilled)

        def in_order(rows: list[Row]) -> list[Row]:
            found = order.accept(rows)
            if order.late:
                context.emit_error(f"{order.late} came after a later row of their Box; they were dropped")
                order.late = 0
            return found

        return in_order


def read_here(
    local: LocalFeed[Any],
    rows: Callable[[Sequence[Any]], list[Row]],
    chosen: Callable[[list[Row]], list[Row]],
    context: SourceContext,
) -> None:
    """Emits the `chosen` rows of the items of `local` until the source has to end, and asks each POLL_S."""
    channel, reported = local.subscribe(), 0
    context.connected(True)
    try:
        while not context.stopped:
            items = channel.take_all(MAX_MESSAGES, POLL_S)
            if found := chosen(rows(items) if items else []):
                context.emit_many(found)
            if channel.dropped > reported:
                context.emit_error(f"{channel.dropped - reported} were lost because the rules are too slow")
                reported = channel.dropped
    finally:
        local.leave(channel)


def topics_of(boxes: Collection[str] | None) -> list[bytes]:
    """The topics of these Boxes; None: of all."""
    return [b""] if boxes is None else [topic(box) for box in sorted(boxes)]


def subscribe(socket: "zmq.Socket[bytes]", address: BackendAddress, topics: Iterable[bytes]) -> None:
    """Subscribes to topics at an address, with its keys. Raises KeyFileError."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_BYTES)
    for prefix in topics:
        socket.setsockopt(zmq.SUBSCRIBE, prefix)
    address.connect(socket)


def read_published(
    socket: "zmq.Socket[bytes]",
    what: str,
    rows: Callable[[Sequence[bytes]], list[Row]],
    context: SourceContext,
    idle: Callable[[], list[Row]] = list,
) -> None:
    """Emits received messages. `rows`: makes rows of a message's frames, or raises FrameError.

    `idle`: rows where nothing was received for POLL_S.
    """
    while not context.stopped:
        if not socket.poll(round(POLL_S * 1000)):
            if quiet := idle():
                context.emit_many(quiet)
            continue
        found: list[Row] = []
        for frames in waiting_messages(socket, MAX_MESSAGES):
            try:
                found += rows(frames)
            except (FrameError, IndexError) as error:
                context.emit_error(f"not a {what}: {error}")
        context.connected(True)
        context.emit_many(found)


def _keys(config: Config) -> tuple[bytes, bytes, bytes] | None:
    if not config.serverKey:
        return None
    try:
        own, server = read_secret_file(config.ownKey), read_server_key(config.serverKey)
    except (KeyFileError, OSError) as error:
        raise ValueError(f"serverKey, ownKey  {error}") from error
    assert own.secret is not None
    return server.public, own.public, own.secret
