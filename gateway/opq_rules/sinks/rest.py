"""rest: an HTTP request per emission (or per row with sendSingle).

Out of reach, 408, 429 and 5xx: sent again. Other refusals of the server drop the emission, counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import httpx

from opq_plugins.sdk import Context, SinkContext
from opq_plugins.sdk import Sink as SinkOfSdk
from opq_proto.settings import configured
from opq_rules.batch import JsonObject
from opq_rules.delivery.template import per_row
from opq_rules.delivery.transform import encoded

_TYPES = {
    "json": "application/json",
    "text": "text/plain",
    "html": "text/html",
    "xml": "application/xml",
    "javascript": "application/javascript",
    "form": "application/x-www-form-urlencoded",
}
_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Config:
    url: str = field(metadata={"help": "http(s)://..., may hold {{.column}}"})
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] = "POST"
    bodyType: Literal["none", "json", "text", "html", "xml", "javascript", "form"] = "json"
    timeout: int = field(default=5000, metadata={"minimum": 1, "maximum": 600_000, "ms": True})
    headers: JsonObject = field(default_factory=dict)
    insecureSkipVerify: bool = False
    debugResp: bool = False


class Sink(SinkOfSdk):
    def configure(self, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)
        if not self._config.url.startswith(("http://", "https://")):
            raise ValueError(f"url  is {self._config.url!r}; want http://... or https://...")
        self._url = per_row(self._config.url)

    def open(self, context: Context) -> None:
        self._client = httpx.Client(
            timeout=self._config.timeout / 1000,
            verify=not self._config.insecureSkipVerify,
            headers={name: str(value) for name, value in self._config.headers.items()},
            trust_env=False,  # what a rule reaches does not depend on the service's surroundings
        )

    def collect(self, context: SinkContext, data: object) -> None:
        config = self._config
        body: JsonObject = {}
        if config.bodyType == "form" and isinstance(data, dict):
            body["data"] = {key: str(value) for key, value in data.items()}
        elif config.bodyType != "none" and config.method not in ("GET", "HEAD"):
            body = {"content": encoded(data), "headers": {"Content-Type": _TYPES[config.bodyType]}}
        try:
            answer = self._client.request(config.method, self._url(data), **body)
        except httpx.TransportError as error:
            raise ConnectionError(f"{self._url(data)}: {type(error).__name__}: {error}") from error
        if config.debugResp:
            context.log("rest.answered", status=answer.status_code, body=answer.text[:1000])
        if answer.status_code in _AGAIN or answer.status_code >= 500:
            raise ConnectionError(f"{self._url(data)} answered {answer.status_code}")
        if answer.status_code >= 300:
            raise ValueError(f"{self._url(data)} answered {answer.status_code}: {answer.text[:200]}")

    def close(self, context: Context) -> None:
        self._client.close()
