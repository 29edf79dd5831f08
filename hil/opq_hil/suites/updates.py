"""Updates over the link, told by a script: good ones run, bad ones leave everything as it was."""

from dataclasses import dataclass

from opq_proto.link_messages import Command, LinkMessage, Operation, UpdateData

NS = 10**9
PIECE_BYTES = 1024
PIECE_NS = 14_000_000
"""A frame of 1,040 bytes is 11.3 ms on the line; its 256 words are 4 ms of programming."""
ERASE_NS = 7 * NS
"""Three sectors of 128 KB, at most 2 s each by DS8626 table 40 (1 s typical)."""


@dataclass(frozen=True, slots=True)
class Telling:
    """An update as the gateway's script, and when it is over."""

    said: tuple[tuple[int, LinkMessage | bytes], ...]
    end_ns: int


def tell(image: bytes, start_ns: int, first_id: int, send_bytes: int | None = None) -> Telling:
    """Begin, the first piece, a wait for the erasure, all pieces, end; without looking at any answer.

    `send_bytes`: break off after so many, for a truncated image. The first piece is sent again after
    the wait: the Box may have asked for it again while it erased.
    """
    said: list[tuple[int, LinkMessage | bytes]] = [
        (start_ns, Command(first_id, Operation.UPDATE_BEGIN, str(len(image)))),
        (start_ns + NS // 20, UpdateData(first_id + 1, 0, image[:PIECE_BYTES])),
    ]
    at_ns = start_ns + ERASE_NS
    body = image[:send_bytes]
    for offset in range(0, len(body), PIECE_BYTES):
        said.append((at_ns, UpdateData(first_id + 1, offset, body[offset : offset + PIECE_BYTES])))
        at_ns += PIECE_NS
    said.append((at_ns + NS // 4, Command(first_id + 2, Operation.UPDATE_END)))
    return Telling(tuple(said), at_ns + NS // 2)
