"""Asks the gateway of this machine for a claim code."""

from urllib.parse import quote

from opq_gateway.local.running_gateway import RunningGateway
from opq_proto.errors import OpqError


def ask_claim_code(endpoint: str, port_offset: int, box_id: str) -> dict[str, object]:
    """`{"box_id", "code", "valid_s"}`.

    Raises:
        ConfigError: the endpoint is no address.
        OpqError: nobody answers there, or it says no; with what it said.
    """
    gateway = RunningGateway(endpoint, port_offset)
    status, said = gateway.ask("POST", f"/claim-codes?box={quote(box_id, safe='')}")
    if status != 201 or not isinstance(said, dict) or not {"box_id", "code", "valid_s"} <= set(said):
        why = said.get("error") if isinstance(said, dict) else None
        raise OpqError(
            str(why or f"{gateway.address} answers {status}; it is no gateway, or one of an older version")
        )
    return said


def claim_words(made: dict[str, object]) -> str:
    """What a person reads."""
    minutes = round(float(str(made["valid_s"])) / 60)
    return (
        f"Box {made['box_id']}: {made['code']}   for {minutes} minutes, once\n"
        "Type the Box's number and this code in View, under Your Boxes, Claim a Box."
    )
