"""Requests status, a claim code or a link to the set-up page from the gateway that runs on this machine, and
puts them into words.

Separate from `health.py`, which answers and imports NumPy.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from opq_proto.errors import OpqError
from opq_proto.keys.rest_token import CHALLENGE, UnprovedError, new_challenge, proved_token
from opq_proto.kit.http_client import HttpAnswer, send_request
from opq_proto.kit.http_server import address_of
from opq_proto.kit.system_place import find_system
from opq_proto.kit.whole_file import write_whole_file

ADDRESS_FILE = "health_address"
ANSWER_S = 10.0
MAX_BYTES = 10_000_000


def note_address(folder: Path, port: int, endpoint: str) -> Callable[[], None]:
    """Writes the gateway's address into its D/gateway; returns the function that removes it."""
    file = folder / ADDRESS_FILE
    host, _ = address_of(endpoint, "health_endpoint")
    try:
        write_whole_file(file, [f"{_bracketed(host)}:{port}\n".encode()], 0o600)
    except OSError:
        return lambda: None  # the disk is full; health reports that

    def remove() -> None:
        with suppress(OSError):
            file.unlink()

    return remove


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def found_address(
    endpoint: str | None, folder: Path | None, offset: int | None, standard: str
) -> tuple[str, int]:
    """The address of a running gateway, and the port offset that is to be added to it.

    Raises OpqError: no gateway has this data folder.
    """
    if endpoint is not None:
        return endpoint, offset or 0
    if folder is not None:
        return address_in(folder), 0  # the address as bound, with the offset
    found, its_offset = find_system(None, offset)
    try:
        return address_in(found), 0
    except OpqError:
        return standard, its_offset


def address_in(data_dir: Path) -> str:
    """The address of the gateway that has this data folder. Raises OpqError: none runs there."""
    file = data_dir / "gateway" / ADDRESS_FILE
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise OpqError(f"no gateway runs with --data-dir {data_dir}: {file} is not there") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise OpqError(f"{file}, with the address of the gateway, cannot be read: {why}") from error


class RunningGateway:
    """The gateway that listens at a `health_endpoint`."""

    def __init__(self, endpoint: str, port_offset: int) -> None:
        """Raises ConfigError: the endpoint is not an address."""
        host, port = address_of(endpoint, "--endpoint")
        self._host, self._port = "127.0.0.1" if host in ("0.0.0.0", "::") else host, port + port_offset
        self.address = f"{_bracketed(self._host)}:{self._port}"

    def read(self, path: str) -> tuple[int, object]:
        """The HTTP status and the document of a page; the document is None where it is not JSON.

        Raises:
            OpqError: there is no answer.
        """
        return _parsed(self._answer("GET", path, {}))

    def order(self, method: str, path: str) -> tuple[int, object]:
        """As `read`, for an order. The gateway gets its token, if this user may read it and the gateway
        proves that it has it. An answer below 400 is returned only after that proof.

        Raises:
            OpqError: there is no answer.
            UnprovedError: there is no proof.
        """
        challenge = new_challenge()
        answer = self._answer(method, path, {CHALLENGE: challenge})
        if answer.status == HTTPStatus.UNAUTHORIZED:
            token = proved_token(answer.content, challenge, self._port)
            if token is not None:
                answer = self._answer(method, path, {"Authorization": f"Bearer {token}"})
        elif answer.status < HTTPStatus.BAD_REQUEST:
            why = "does not ask for the gateway's token, so it is not the gateway"
            raise UnprovedError(f"the program at {self.address} {why}")
        return _parsed(answer)

    def _answer(self, method: str, path: str, headers: dict[str, str]) -> HttpAnswer:
        url = f"http://{self.address}{path}"
        try:
            return send_request(url, ANSWER_S, method=method, headers=headers, most_bytes=MAX_BYTES)
        except OSError as error:
            why = f"no gateway answers at {self.address} ({error}); it must run on this machine"
            raise OpqError(why) from error


def _parsed(answer: HttpAnswer) -> tuple[int, object]:
    try:
        return answer.status, json.loads(answer.content)
    except ValueError:
        return answer.status, None


def _refusal(gateway: RunningGateway, status: int, answer: object) -> str:
    """Why an order failed: the gateway's own text, or the status of a program that has none."""
    why = answer.get("error") if isinstance(answer, dict) else None
    return str(why or f"{gateway.address} answers {status}; it is not a gateway")


def make_setup_link(endpoint: str, port_offset: int) -> str:
    """Requests a new link to the set-up page. Raises as `make_claim_code`."""
    gateway = RunningGateway(endpoint, port_offset)
    status, answer = gateway.order("POST", "/setup-links")
    if status != 201 or not isinstance(answer, dict) or "url" not in answer:
        raise OpqError(_refusal(gateway, status, answer))
    return str(answer["url"])


def make_claim_code(endpoint: str, port_offset: int, box_id: str) -> dict[str, object]:
    """Requests a new claim code: `{"box_id", "code", "valid_s"}`.

    Raises:
        ConfigError: the endpoint is not an address.
        OpqError: there is no answer, or the gateway refuses; with its text.
    """
    gateway = RunningGateway(endpoint, port_offset)
    status, answer = gateway.order("POST", f"/claim-codes?box={quote(box_id, safe='')}")
    if status != 201 or not isinstance(answer, dict) or not {"box_id", "code", "valid_s"} <= set(answer):
        raise OpqError(_refusal(gateway, status, answer))
    return answer


def claim_words(made: dict[str, object]) -> str:
    """A claim code as a sentence for a person."""
    minutes = round(float(str(made["valid_s"])) / 60)
    return (
        f"Box {made['box_id']}: {made['code']}   for {minutes} minutes, once\n"
        "Type the Box's number and this code in View, under Your Boxes, Claim a Box."
    )


UNKNOWN_NS = 2**32 - 1
SOURCES = {"gps": "GPS", "holdover": "GPS lost, held over", "ntp": "by another clock", "free": "free-running"}


def read_status(endpoint: str, port_offset: int) -> dict[str, Any]:
    """Requests the status: `{"boxes", "gps_comparison", "claim_codes", "claim_codes_problem"}`.

    The codes are None where they are not shown, as to other users; the problem says why.

    Raises:
        ConfigError: the endpoint is not an address.
        OpqError: there is no answer, or it is not a gateway.
    """
    gateway = RunningGateway(endpoint, port_offset)
    _, health = gateway.read("/")
    if not isinstance(health, dict) or health.get("name") != "gateway":
        raise OpqError(f"{gateway.address} answers, but is not a gateway")
    problem: str | None = None
    try:
        status, codes = gateway.order("GET", "/claim-codes")
    except UnprovedError as error:
        codes, problem = None, str(error)
    else:
        if status != HTTPStatus.OK or not isinstance(codes, list):
            problem = _refusal(gateway, status, codes)
    return {
        "boxes": health.get("subcomponents") or [],
        "gps_comparison": health.get("gps_comparison"),
        "claim_codes": codes if problem is None else None,
        "claim_codes_problem": problem,
    }


def status_words(status: dict[str, Any]) -> list[str]:
    """The status as lines for a person."""
    lines = [
        f"Box {box.get('name')}: {_state(box)}; "
        f"time {SOURCES.get(str(box.get('time_source')), 'not known')}{_bound(box.get('uncertainty_ns'))}"
        for box in status["boxes"]
    ]
    gps = status["gps_comparison"]
    if not gps or gps.get("box_id") is None:
        lines.append("GPS: no Box here gives this machine the time")
    else:
        held = ", lost and held over" if gps.get("held") else ""
        off_ns = gps.get("system_clock_off_ns")
        off = "" if off_ns is None else f"; this machine's clock is off by {off_ns / 1e6:+.3f} ms"
        lines.append(f"GPS: of Box {gps['box_id']}{held}{_bound(gps.get('uncertainty_ns'))}{off}")
        apart = gps.get("apart_ns") or {}
        lines += [f"GPS: Box {box_id} contradicts it by {ns / 1e6:+.3f} ms" for box_id, ns in apart.items()]
    if status["claim_codes"] is None:
        return [*lines, f"claim codes are not shown: {status['claim_codes_problem']}"]
    codes = [
        f"claim code of Box {code['box_id']}: {code['code']}, "
        f"for {round(float(code['valid_s']) / 60)} minutes, once"
        for code in status["claim_codes"]
    ]
    return lines + (codes or ["no claim code is open; opq-gateway claim-code BOX shows one"])


def _state(box: dict[str, Any]) -> str:
    info = box.get("info")
    return "; ".join(filter(None, ("well" if box.get("ok") or not info else "", info)))


def _bound(ns: object) -> str:
    """The uncertainty as ` ± 1.2 ms`; empty where unknown."""
    if not isinstance(ns, int) or ns >= UNKNOWN_NS:
        return ""
    units = ((1e9, "s"), (1e6, "ms"), (1e3, "\u00b5s"), (0.0, "ns"))
    size, unit = next(each for each in units if ns >= each[0])
    size = size or 1.0
    return f" \u00b1 {float(f'{ns / size:.2g}'):g} {unit}"
