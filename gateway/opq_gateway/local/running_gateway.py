"""Asks the gateway that runs on this machine; short of `health.py`, which imports NumPy and answers."""

import http.client
import json
from contextlib import closing

from opq_proto.errors import OpqError
from opq_proto.http_server import address_of

ANSWER_S = 10.0
MOST_BYTES = 10_000_000


class RunningGateway:
    """What listens at a `health_endpoint`."""

    def __init__(self, endpoint: str, port_offset: int) -> None:
        """Raises ConfigError: the endpoint is no address."""
        host, port = address_of(endpoint, "--endpoint")
        self._host, self._port = "127.0.0.1" if host == "0.0.0.0" else host, port + port_offset
        self.address = f"{self._host}:{self._port}"

    def ask(self, method: str, path: str) -> tuple[int, object]:
        """The status of its answer, and the document in it; None: that is no JSON.

        Raises:
            OpqError: nobody answers there.
        """
        try:
            with closing(http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_S)) as connection:
                connection.request(method, path)
                answer = connection.getresponse()
                status, body = answer.status, answer.read(MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            why = f"no gateway answers at {self.address} ({error}); it must run on this machine"
            raise OpqError(why) from error
        try:
            return status, json.loads(body)
        except ValueError:
            return status, None
