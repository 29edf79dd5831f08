"""The token of a rule engine's REST, for clients that a test makes itself."""

from collections.abc import Callable
from pathlib import Path

import httpx

from opq_proto.keys.rest_token import NAME


def token_auth(data_dir: Path) -> Callable[[httpx.Request], httpx.Request]:
    """`auth` of an httpx client: the token of the engine in data_dir/rules, as soon as it is there."""

    def sign(request: httpx.Request) -> httpx.Request:
        file = data_dir / "rules" / NAME
        if file.exists():
            request.headers["Authorization"] = f"Bearer {file.read_text().strip()}"
        return request

    return sign
