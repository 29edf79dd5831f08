"""Access to the REST: tokens, no requests of foreign web pages, a limit to bodies. A plain ASGI wrapper.

Every request needs a token: the engine's own, or one of `token_file`. Without a `token_file` requests of
foreign pages (`opq_proto.kit.origin_guard`) and of plug-ins' workers are refused in any case, because a rule
could write where only the server may. The kernel's table of sockets gives the user of a connection.
"""

import hashlib
import hmac
import ipaddress
import struct
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from opq_proto.keys.rest_token import CHALLENGE, KEY, PROOFS, proofs_of
from opq_proto.kit.http_server import has_two_lengths
from opq_proto.kit.origin_guard import ip_address, page_refusal
from opq_rules.errors import CONFIGURATION, ENCODING, UNDEFINED

Message: TypeAlias = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Address = Sequence[object]
"""Host and port, in the form of ASGI's `client` and `server`."""
IsWorker = Callable[[Address | None, Address | None], bool]
"""(client, server) -> whether a plug-in's process has this connection."""

OPEN = ("/ping", "/health")
"""Paths without a token: they only report that the service runs."""
METRICS = "/metrics"
"""Needs no token from this machine, because it only has totals."""
PROXY_HEADERS = (b"forwarded", b"x-forwarded-for", b"x-real-ip")
MAX_JSON_BYTES = 4 << 20
"""Limit of a body that is decoded; 4 MiB of `[],` become 200 MiB of lists. Larger files come as a form."""
_LOCAL = 1
"""Column of PROC's tables, like the next two."""
_REMOTE = 2
_UID = 7
PROC = Path("/proc/net")


@dataclass(frozen=True, slots=True)
class AllowedTokens:
    """`own`: the engine's token, and `file`, where it is. `listed`: SHA-256 of others, hexadecimal."""

    own: str
    file: Path
    listed: Sequence[str] = ()


class RequestGuard:
    """`tokens`: the allowed ones."""

    def __init__(
        self,
        app: App,
        tokens: AllowedTokens,
        most_bytes: int,
        is_worker: IsWorker = lambda client, server: False,
    ) -> None:
        """`most_bytes`: limit of a form; other bodies have at most MAX_JSON_BYTES."""
        self._is_worker = is_worker
        self.refused = 0
        self._app, self._most_form_bytes = app, most_bytes
        self._tokens = tokens
        own = hashlib.sha256(tokens.own.encode()).hexdigest()
        self._hashes = [own, *(each.lower() for each in tokens.listed)]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        is_form = headers.get(b"content-type", "").lower().startswith("multipart/")
        most_bytes = self._most_form_bytes if is_form else min(MAX_JSON_BYTES, self._most_form_bytes)
        advice = "most_body_mb sets this limit" if is_form else "upload it to /config/uploads as a form"
        too_long = f"the body is longer than {most_bytes} bytes; {advice}"
        refusal = self._refusal(scope, headers)
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > most_bytes:
            refusal = 413, CONFIGURATION, too_long
        if has_two_lengths(headers.keys()):
            refusal = 400, ENCODING, "want a Content-Length or a Transfer-Encoding, not both"
        if refusal is not None:
            self.refused += 1
            await _answer(send, *refusal, more=self._for_clients(scope, headers) if refusal[0] == 401 else {})
            return
        received_bytes = 0

        async def receive_bounded() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > most_bytes:
                raise TooLongError
            return message

        async def send_unless_too_long(message: Message) -> None:
            if received_bytes <= most_bytes:  # else the application would answer that the body cannot be read
                await send(message)

        with suppress(TooLongError):
            await self._app(scope, receive_bounded, send_unless_too_long)
        if received_bytes > most_bytes:
            self.refused += 1
            await _answer(send, 413, CONFIGURATION, too_long)

    def _refusal(self, scope: Message, headers: dict[bytes, str]) -> tuple[int, int, str] | None:
        path, local = scope["path"], is_local(scope, headers)
        if not self._tokens.listed:
            if path not in OPEN and self._is_worker(scope.get("client"), scope.get("server")):
                return 403, UNDEFINED, "requests of a plug-in's process need token_file and a token"
            by_name = {name.decode("latin-1"): value for name, value in headers.items()}
            if (foreign := page_refusal(by_name, on_loopback=True)) is not None:
                return 403, UNDEFINED, foreign
        if path in OPEN or (path == METRICS and local) or self._knows(headers.get(b"authorization", "")):
            return None
        where = f"the token is in {self._tokens.file}" if local else "one of the tokens of token_file"
        return 401, UNDEFINED, f"want the header Authorization: Bearer TOKEN; {where}"

    def _for_clients(self, scope: Message, headers: dict[bytes, str]) -> dict[str, object]:
        """What our clients read in a refusal: the token's file, and the proofs that this engine has it."""
        found: dict[str, object] = {KEY: str(self._tokens.file)} if is_local(scope, headers) else {}
        challenge, server = headers.get(CHALLENGE.lower().encode()), scope.get("server")
        if challenge is not None and server:
            found[PROOFS] = proofs_of(self._hashes, challenge, server[1])
        return found

    def _knows(self, header: str) -> bool:
        if not header:
            return False
        token = (header[7:] if header[:7].lower() == "bearer " else header).strip()
        digest = hashlib.sha256(token.encode()).hexdigest()
        # compares all, for constant time
        return sum(hmac.compare_digest(digest, each) for each in self._hashes) > 0


class TooLongError(Exception):
    """Raised in the application that reads a refused body; the RequestGuard then sends the answer."""


def is_local(scope: Message, headers: Collection[bytes]) -> bool:
    """Whether the request comes from this machine, and not through a proxy from another one.

    `headers`: their names, in small letters.
    """
    client = scope.get("client")
    peer = ip_address(str(client[0])) if client else None
    return peer is not None and peer.is_loopback and not any(name in headers for name in PROXY_HEADERS)


async def _answer(
    send: Send, status: int, code: int, text: str, more: Mapping[str, object] = MappingProxyType({})
) -> None:
    body = msgspec.json.encode({"error": code, "message": text, **more})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 400:
        headers.append((b"connection", b"close"))  # two lengths: the following bytes may not be a request
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def uid_of(client: Address, server: Address, proc: Path = PROC) -> int | None:
    """User id of the socket at `client` that is connected to `server`; None: not on this machine."""
    for name in ("tcp", "tcp6"):
        ends = _end(client, name == "tcp6"), _end(server, name == "tcp6")
        if None in ends:
            continue
        try:
            lines = (proc / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if len(words) > _UID and (words[_LOCAL], words[_REMOTE]) == ends:
                return int(words[_UID])
    return None


def connection_of_users(uids: Callable[[], Collection[int]]) -> IsWorker:
    """Whether one of these users has a connection; without users nothing is read."""

    def is_one(client: Address | None, server: Address | None) -> bool:
        wanted = uids()
        return bool(wanted and client and server) and uid_of(client or (), server or ()) in wanted

    return is_one


def _end(address: Address, wide: bool) -> str | None:
    """The address as in the kernel's table: words of 32 bits in the machine's byte order, and the port."""
    host, port = str(address[0]), int(str(address[1]))
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    if wide and ip.version == 4:
        ip = ipaddress.IPv6Address(f"::ffff:{ip}")  # IPv4 on an IPv6 socket
    if (ip.version == 6) is not wide:
        return None
    words = struct.unpack(f"={len(ip.packed) // 4}I", ip.packed)
    return f"{''.join(f'{each:08X}' for each in words)}:{port:04X}"
