"""opqwave: raw samples of Boxes in windows, as arrays. DATASOURCE: Boxes (`1,4`), or `*` for all.

Inside a gateway it gets the samples of the Boxes without a socket. Elsewhere, or with `url`, it subscribes to
a gateway's `[rules] windows_endpoint`. The columns: wave_windows.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import zmq

from opq_plugins.sdk import Source as SourceOfSdk
from opq_plugins.sdk import SourceContext
from opq_proto.config.settings import configured
from opq_proto.keys.backend_keys import BackendAddress
from opq_rules.feeds.local_feed import LocalFeed
from opq_rules.feeds.wave_windows import COLUMNS, WavePiece, WaveWindows, piece_of
from opq_rules.sources.opqbox import boxes_of, read_here, read_published, subscribe, topics_of
from opq_rules.values.batch import Row


@dataclass(frozen=True, slots=True)
class Config:
    url: str = field(default="", metadata={"help": "of a gateway's windows, e.g. tcp://127.0.0.1:9886"})
    windowMs: int = field(default=200, metadata={"minimum": 1, "maximum": 10_000, "ms": True})
    unit: Literal["counts", "volts"] = "counts"


class Source(SourceOfSdk):
    columns = COLUMNS

    def __init__(self, local: LocalFeed[WavePiece] | None = None) -> None:
        self._local = local

    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)
        self._boxes = boxes_of(datasource)
        url = self._config.url
        if not url and self._local is None:
            raise ValueError("url  missing: a gateway's [rules] windows_endpoint, e.g. tcp://127.0.0.1:9886")
        if url and not url.startswith(("tcp://", "ipc://")):
            raise ValueError(f"url  is {url!r}; want tcp://host:port")

    def open(self, context: SourceContext) -> None:
        windows = WaveWindows(self._config.windowMs, self._config.unit == "volts")

        def rows(pieces: Sequence[WavePiece]) -> list[Row]:
            mine = [each for each in pieces if self._boxes is None or each.box_id in self._boxes]
            return [row for piece in mine for row in windows.push_piece(piece)]

        if self._local is not None and not self._config.url:
            read_here(self._local, rows, lambda found: found, context)
            return
        with zmq.Context() as own, own.socket(zmq.SUB) as socket:
            subscribe(socket, BackendAddress(self._config.url), topics_of(self._boxes))
            read_published(socket, "samples", lambda frames: rows([piece_of(frames)]), context)
