"""httppull: requests an HTTP server every `interval`; DATASOURCE is appended to `url`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import httpx

from opq_plugins.sdk import Source as SourceOfSdk
from opq_plugins.sdk import SourceContext
from opq_proto.config.settings import configured
from opq_rules.connections.access import Guarded
from opq_rules.connections.http_client import check_url, http_client
from opq_rules.streams.formats import json_rows
from opq_rules.values.batch import JsonObject

_LARGEST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Config:
    url: str = "http://127.0.0.1"
    method: Literal["GET", "POST", "PUT"] = "GET"
    interval: int = field(default=10_000, metadata={"minimum": 1, "maximum": 86_400_000, "ms": True})
    timeout: int = field(default=5000, metadata={"minimum": 1, "maximum": 600_000, "ms": True})
    incremental: bool = False  # an answer that equals the last one is skipped
    body: str = ""
    bodyType: Literal["none", "json", "text"] = "none"
    headers: JsonObject = field(default_factory=dict)
    responseType: Literal["code", "body"] = "code"  # body: `code` in each object of the answer counts, too
    insecureSkipVerify: bool = False


class Source(Guarded, SourceOfSdk):
    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)
        self._url = self._config.url + (datasource if datasource != "/$$TEST_CONNECTION$$" else "")
        check_url(self._url, self.access.hosts)

    def open(self, context: SourceContext) -> None:
        config, last = self._config, b""
        kind = {"json": "application/json", "text": "text/plain"}.get(config.bodyType)
        headers = config.headers | ({"Content-Type": kind} if kind else {})
        hosts = self.access.hosts
        with http_client(config.timeout / 1000, headers, hosts, config.insecureSkipVerify) as client:
            while not context.stopped:
                try:
                    answer = self._fetch(client)
                except (httpx.HTTPError, ValueError) as error:
                    why = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                    context.connected(False, f"{self._url}: {why}")
                else:
                    context.connected(True)
                    if not (config.incremental and answer == last) and not context.emit_bytes([answer]):
                        return
                    last = answer
                context.wait(config.interval / 1000)

    def _fetch(self, client: httpx.Client) -> bytes:
        content = self._config.body.encode() if self._config.bodyType != "none" else None
        with client.stream(self._config.method, self._url, content=content) as answer:
            if not answer.is_success:
                raise ValueError(f"answered {answer.status_code} {answer.reason_phrase}")
            taken = bytearray()
            for piece in answer.iter_bytes():
                taken += piece
                if len(taken) > _LARGEST_BYTES:
                    raise ValueError(f"the answer has more than {_LARGEST_BYTES} bytes")
        if self._config.responseType == "body":
            _check_codes(bytes(taken))
        return bytes(taken)


def _check_codes(answer: bytes) -> None:
    """Raises ValueError unless each object of the answer holds a `code` of success, as eKuiper checks it."""
    for row in json_rows(answer):
        code = row.get("code")
        if not (isinstance(code, int) and 200 <= code < 300):
            raise ValueError(f"answered with code {code!r} in its body; want a number from 200 to 299")
