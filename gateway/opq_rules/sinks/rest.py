"""rest: an HTTP request per emission (or per row with sendSingle).

It is sent again without an answer, and after 408, 425, 429 and 5xx; other refusals drop it, counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from opq_plugins.sdk import Context, SinkContext
from opq_plugins.sdk import Sink as SinkOfSdk
from opq_proto.config.settings import configured
from opq_rules.connections.access import Guarded
from opq_rules.connections.http_client import answered, check_accepted, check_url, http_client
from opq_rules.delivery.template import per_row
from opq_rules.delivery.transform import encoded
from opq_rules.values.batch import JsonObject

_TYPES = {
    "json": "application/json",
    "text": "text/plain",
    "html": "text/html",
    "xml": "application/xml",
    "javascript": "application/javascript",
    "form": "application/x-www-form-urlencoded",
}


@dataclass(frozen=True, slots=True)
class Config:
    url: str = field(metadata={"help": "http(s)://..., may contain {{.column}}"})
    timeout: int = field(default=5000, metadata={"minimum": 1, "maximum": 600_000, "ms": True})
    headers: JsonObject = field(default_factory=dict)
    insecureSkipVerify: bool = False
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] = "POST"
    bodyType: Literal["none", "json", "text", "html", "xml", "javascript", "form"] = "json"
    debugResp: bool = False

    def __post_init__(self) -> None:
        check_url(self.url)


class Sink(Guarded, SinkOfSdk):
    def configure(self, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)
        check_url(self._config.url, self.access.hosts)
        self._url = per_row(self._config.url)

    def open(self, context: Context) -> None:
        config = self._config
        self._client = http_client(
            config.timeout / 1000, config.headers, self.access.hosts, config.insecureSkipVerify
        )

    def collect(self, context: SinkContext, data: object) -> None:
        config, url = self._config, self._url(data)
        body: JsonObject = {}
        if config.bodyType == "form" and isinstance(data, dict):
            body["data"] = {key: str(value) for key, value in data.items()}
        elif config.bodyType != "none" and config.method not in ("GET", "HEAD"):
            body = {"content": encoded(data), "headers": {"Content-Type": _TYPES[config.bodyType]}}
        answer = answered(self._client, config.method, url, **body)
        if config.debugResp:
            context.log("rest.answered", status=answer.status_code, body=answer.text[:1000])
        check_accepted(answer, url)

    def close(self, context: Context) -> None:
        self._client.close()
