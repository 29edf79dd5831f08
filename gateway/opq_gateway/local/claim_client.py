"""Asks the gateway of this machine for a claim code; short, for `health.py` imports NumPy."""

import http.client
import json
from contextlib import closing
from urllib.parse import quote

from opq_proto.errors import OpqError
from opq_proto.http_server import address_of

ANSWER_S = 10.0


def ask_claim_code(endpoint: str, port_offset: int, box_id: str) -> dict[str, object]:
    """`{"box_id", "code", "valid_s"}`.

    Raises:
        ConfigError: the endpoint is no address.
        OpqError: nobody answers there, or it says no; with what it said.
    """
    host, port = address_of(endpoint, "--endpoint")
    host, port = ("127.0.0.1" if host == "0.0.0.0" else host), port + port_offset
    try:
        with closing(http.client.HTTPConnection(host, port, timeout=ANSWER_S)) as connection:
            connection.request("POST", f"/claim-codes?box={quote(box_id, safe='')}")
            answer = connection.getresponse()
            status, body = answer.status, answer.read(10_000)
    except (OSError, http.client.HTTPException) as error:
        raise OpqError(
            f"no gateway answers at {host}:{port} ({error}); it must run on this machine"
        ) from error
    try:
        said = json.loads(body)
    except ValueError:
        said = {}
    if status != 201 or not isinstance(said, dict) or not {"box_id", "code", "valid_s"} <= set(said):
        why = said.get("error") if isinstance(said, dict) else None
        raise OpqError(
            str(why or f"{host}:{port} answers {status}; it is no gateway, or one of an older version")
        )
    return said


def claim_words(made: dict[str, object]) -> str:
    """What a person reads."""
    minutes = round(float(str(made["valid_s"])) / 60)
    return (
        f"Box {made['box_id']}: {made['code']}   for {minutes} minutes, once\n"
        "Type the Box's number and this code in View, under Your Boxes, Claim a Box."
    )
