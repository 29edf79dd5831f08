"""rest: an HTTP server, for the sink rest and the source httppull."""

from dataclasses import dataclass, field

import httpx

from opq_rules.batch import JsonObject
from opq_rules.http_client import check_url, http_client

USERS = frozenset({("sources", "httppull"), ("sinks", "rest")})
_NO_HEAD = (404, 405, 501)
_NOT_LET_IN = (401, 403, 407)


@dataclass(frozen=True, slots=True)
class Config:
    url: str
    timeout: int = field(default=5000, metadata={"minimum": 1, "maximum": 600_000, "ms": True})
    headers: JsonObject = field(default_factory=dict)
    insecureSkipVerify: bool = False  # noqa: N815

    def __post_init__(self) -> None:
        check_url(self.url)


def check(config: Config, wait_s: float) -> None:
    """HEAD, and GET where the server has none. What is not there may be made by a POST: any answer will do
    that neither asks who we are nor tells of a fault of the server."""
    if "{{" in config.url or "{%" in config.url:
        raise ValueError(f"url  is {config.url!r}; a template has no address before there is a row")
    timeout_s = min(wait_s, config.timeout / 1000)
    try:
        with http_client(timeout_s, config.headers, config.insecureSkipVerify) as client:
            code = client.head(config.url).status_code
            if code in _NO_HEAD:
                with client.stream("GET", config.url) as answer:
                    code = answer.status_code
    except httpx.InvalidURL as error:
        raise ValueError(f"url  is {config.url!r}; {error}") from error
    except httpx.HTTPError as error:
        raise ConnectionError(f"{config.url}: {type(error).__name__}: {error}") from error
    if code in _NOT_LET_IN or code >= 500:
        raise ConnectionError(f"{config.url} answered {code}")
