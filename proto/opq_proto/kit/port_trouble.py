"""Why a serial port cannot be opened, in few words; pyserial's text has port name and errno twice."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from opq_proto.visible_text import visible

ERRNO = re.compile(r"\[Errno -?\d+\] ([^'\"]+)")
"""How pyserial's handlers of addresses quote the system."""
CONFIGURING = re.compile(r"Could not configure port: \((\d+), ")
"""How pyserial quotes the system where a port opens and cannot be set."""
NO_RFC2217 = re.compile(r"does not seem to support RFC2217|does not accept parameter change \(RFC2217\)")
"""What pyserial says of a server that answers otherwise, or not at all; what follows is its own state."""
UNANSWERED = re.compile(r"(?:timeout while waiting for|remote rejected value for) option '(\w+)'")
"""What pyserial says where a server knows RFC 2217 in part."""
NO_RATE = re.compile(r"Failed to set custom baud rate \((\d+)\)")
UNKNOWN_SCHEME = re.compile(r"invalid URL, protocol '(.*)' not known")
NETWORK = ("socket", "rfc2217")
NO_PORT = "this is not a serial port"
AT_SERVER = "look at the host's name, its port and the server there"
AT_PLUG = "look at the plug, the adapter and its supply"
GONE = "its adapter does not answer; plug it in again"
CLOSED = (errno.EPIPE, errno.ECONNRESET)
"""A server that has another client, or answers somebody else only, ends the connection."""
HINTS = {
    errno.EISDIR: NO_PORT,
    errno.EIO: "nothing is at this port, or its adapter does not answer; see /dev/serial/by-id",
    errno.EPROTO: GONE,
    errno.ENODEV: GONE,
    errno.ENXIO: GONE,
    errno.EPERM: "a container or a service's limits keep this port away; docker run --device PORT, or "
    "DeviceAllow= in the unit, lets it in",
    errno.ENOENT: "no such port; see /dev/serial/by-id for those there are",
    errno.EACCES: "this user may not open it; on Debian: sudo adduser $USER dialout, then log in again",
    errno.EBUSY: "another program has it; stop the gateway, or whoever uses it",
    errno.EAGAIN: "another program has it; stop the gateway, or whoever uses it",
}


def address_problem(url: str) -> str:
    """What is wrong with `socket://` or `rfc2217://`; empty where nothing is, or it is a path."""
    scheme, mark, _ = url.lower().partition("://")
    try:
        parts = urlsplit(url)
        is_right = bool(parts.hostname and parts.port)
    except ValueError:
        is_right = False
    if not mark or scheme not in NETWORK or is_right:
        return ""
    return f"want {scheme}://HOST:PORT, with a port of 1 to 65535 and an IPv6 host in [ ]"


def why_not_opened(error: Exception, port: str = "") -> str:
    """Returns the reason and what to do, without the port's name.

    `port`: its path; programs that have it open are named, as far as this user may see them.

    >>> why_not_opened(FileNotFoundError(errno.ENOENT, "could not open port /dev/ttyUSB0: ..."))
    'no such port; see /dev/serial/by-id for those there are'
    """
    code = getattr(error, "errno", None)
    if code in (errno.EBUSY, errno.EAGAIN) and port.startswith("/"):
        others = ", ".join(_programs_at(port))
        if others:
            return f"another program has it: {others}; end that first"
    text = str(error)
    if code is None and (found := CONFIGURING.match(text)):
        code = int(found[1])
    if code in HINTS:
        return HINTS[code]
    if found := NO_RATE.search(text):
        return f"this port's driver does not take {found[1]} bits per second; want a rate that it takes"
    if "Inappropriate ioctl" in text:
        return NO_PORT
    if "://" in text and (found := ERRNO.search(text)):
        return f"{found[1]}; {AT_SERVER}"
    if NO_RFC2217.search(text):
        return "no server answers there by RFC 2217; socket://HOST:PORT takes one without it, such as raw TCP"
    if found := UNANSWERED.search(text):
        return (
            f"the server there does not answer RFC 2217's {found[1]}: update it, or let it serve raw TCP and "
            "take socket://HOST:PORT"
        )
    if found := UNKNOWN_SCHEME.search(text):
        return f"protocol '{found[1]}' not known; want a path, socket://HOST:PORT or rfc2217://HOST:PORT"
    if port.lower().startswith(("socket://", "rfc2217://")) and code in CLOSED:
        return f"{os.strerror(code)}: the connection was ended; {AT_SERVER}"
    if code and "://" not in text:
        return os.strerror(code)
    return text


def where_to_look(port: str) -> str:
    """What to look at when a port that was open fails."""
    return AT_SERVER if "://" in port else AT_PLUG


def also_open(port: str) -> str:
    """Other programs that have the port open, which take bytes of it; empty where none is seen."""
    others = ", ".join(_programs_at(port)) if port.startswith("/") else ""
    return f"another program has this port open, too: {others}; end that first" if others else ""


def _programs_at(port: str) -> Iterator[str]:
    """Other processes that have the port open."""
    device, ours = Path(port).resolve(), str(os.getpid())
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == ours:
            continue
        with suppress(OSError):  # it ended, or belongs to somebody else
            if any(_target(file) == device for file in (folder / "fd").iterdir()):
                yield f"{visible((folder / 'comm').read_text().strip())} (process {folder.name})"


def _target(file: Path) -> Path | None:
    try:
        return file.readlink()
    except OSError:
        return None
