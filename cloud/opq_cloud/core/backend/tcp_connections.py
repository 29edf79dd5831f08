"""One connection of a socket that libzmq owns: the kernel's count of its bytes, and ending it.

libzmq has no call that ends one peer. Its frames and monitors name the file descriptor, and operations
on that affect the peer alone; a number that was reused meanwhile is detected by the peer's address. A
connection to a Unix socket has no address, so it is known by its inode, and the kernel counts no bytes of it.
Source: include/uapi/linux/tcp.h (TCP_INFO).
"""

import errno
import os
import socket as tcp
import stat
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager

LAST_SENT_AT = 44
"""Offset of tcpi_last_data_sent (u32, ms ago)."""
BYTES_RECEIVED_AT = 128
"""Offset of tcpi_bytes_received (u64) in struct tcp_info, Linux 4.1 and later."""
BYTES_SENT_AT = 200
"""Offset of tcpi_bytes_sent (u64), Linux 4.19 and later; it includes tcpi_bytes_retrans, the next u64."""
INFO_BYTES = 256
_INET = int(tcp.AF_INET)
"""As int, like the next four: an Enum costs as much as the call."""
_INET6 = int(tcp.AF_INET6)
_STREAM = int(tcp.SOCK_STREAM)
_TCP = int(tcp.IPPROTO_TCP)
_TCP_INFO = int(tcp.TCP_INFO)


@contextmanager
def _connection(number: int) -> Iterator[tcp.SocketType]:
    """Yields the connection by a descriptor of its own, which stays its; by `number` where none is left.

    A number that a file has meanwhile is not duplicated: closing the duplicate would end every lock of this
    process on that file, and the next program that reads the store would delete SQLite's write-ahead log.
    """
    if not stat.S_ISSOCK(os.fstat(number).st_mode):
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    try:
        twin = os.dup(number)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        borrowed = tcp.SocketType(_INET6, _STREAM, 0, number)  # INET6: room for each kind of address
        try:
            yield borrowed
        finally:
            borrowed.detach()
        return
    # raises where a file got the number since the check: its duplicate stays open, for the same reason
    with closing(tcp.socket(fileno=twin)) as own:
        yield own


def _address(connection: tcp.SocketType) -> object:
    """Raises OSError when it is not connected."""
    address = connection.getpeername()
    if connection.getsockopt(tcp.SOL_SOCKET, tcp.SO_DOMAIN) != tcp.AF_UNIX:
        return address
    process, *_ = struct.unpack("=3i", connection.getsockopt(tcp.SOL_SOCKET, tcp.SO_PEERCRED, 12))
    return f"process {process}", os.fstat(connection.fileno()).st_ino


def remote_address(number: int) -> object:
    """Returns the address that the descriptor is connected to; None when it is not a connection."""
    try:
        with _connection(number) as found:
            return _address(found)
    except OSError:
        return None


def shut_down(number: int, address: object) -> bool:
    """Ends the connection if it is still that peer's; its owner sees it as if the peer had gone."""
    try:
        with _connection(number) as found:
            if address is None or _address(found) != address:
                return False  # the number was reused by another connection
            found.shutdown(tcp.SHUT_RDWR)
    except OSError:
        return False  # gone already
    return True


def tcp_info(number: int) -> bytes:
    """Returns the kernel's struct tcp_info; empty when the descriptor is not a TCP connection."""
    try:
        # borrowed, not duplicated: a number that is closed meanwhile only makes the call fail
        borrowed = tcp.SocketType(_INET, _STREAM, 0, number)
        try:
            return borrowed.getsockopt(_TCP, _TCP_INFO, INFO_BYTES)
        finally:
            borrowed.detach()
    except OSError:
        return b""


def bytes_at(info: bytes, offset: int) -> int | None:
    """Returns a u64 of `tcp_info`; None from a kernel that does not count it."""
    return int(struct.unpack_from("=Q", info, offset)[0]) if len(info) >= offset + 8 else None


def bytes_sent(info: bytes) -> int | None:
    """Returns the bytes sent of `tcp_info`, each counted once; None where they are not counted."""
    if len(info) < BYTES_SENT_AT + 16:
        return None
    sent, again = struct.unpack_from("=QQ", info, BYTES_SENT_AT)
    return int(sent - again)


def sent_ago_s(info: bytes) -> float:
    """Returns how long ago something was sent; 0 when the kernel does not report it."""
    return float(struct.unpack_from("=I", info, LAST_SENT_AT)[0]) / 1000 if len(info) >= 48 else 0.0
