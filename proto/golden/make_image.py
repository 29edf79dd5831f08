"""Firmware images, good and bad, with the verdict that each earns: the topic `image`.

Independent of opq_proto: the header by struct, the hash by hashlib, Ed25519 written out from RFC 8032,
section 5.1 (slow and not for secrets). Key pairs: RFC 8032, section 7.1, TEST 1 and TEST 2.
"""

import hashlib
import struct
from collections.abc import Callable
from functools import cache

P = 2**255 - 19
"""Prime of the field of Ed25519 (RFC 8032, 5.1)."""
L = 2**252 + 27742317777372353535851937790883648493
"""Order of its base point."""
D = -121665 * pow(121666, P - 2, P) % P
Point = tuple[int, int, int, int]  # extended homogeneous coordinates
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
OTHER = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
VERDICTS = (
    "good",
    "no_magic",
    "header_unknown",
    "wrong_hardware",
    "wrong_address",
    "bad_length",
    "downgrade",
    "unsigned",
    "bad_signature",
    "truncated",
    "bad_hash",
    "bad_vectors",
)
ADDRESS = {"A": 0x0802_0000, "B": 0x0808_0000}
VERSION = 0x0102_0003
MAX_BODY = 0x6_0000 - 512 - 1024
"""Bytes of the longest body: a slot without the header and the record of its state."""


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(scalar: int, p: Point) -> Point:
    total: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = _add(total, p)
        p, scalar = _add(p, p), scalar >> 1
    return total


def _base() -> Point:
    y = 4 * pow(5, P - 2, P) % P
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    x = P - x if x & 1 else x
    return x, y, 1, x * y % P


def _compress(p: Point) -> bytes:
    inverse = pow(p[2], P - 2, P)
    return (p[1] * inverse % P | (p[0] * inverse % P & 1) << 255).to_bytes(32, "little")


def _hash(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def _expand(secret: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(secret).digest()
    return int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254, digest[32:]


@cache
def public_key(secret: bytes) -> bytes:
    return _compress(_times(_expand(secret)[0], _base()))


def sign(secret: bytes, message: bytes) -> bytes:
    """RFC 8032, 5.1.6."""
    scalar, prefix = _expand(secret)
    r = _hash(prefix, message)
    point = _compress(_times(r, _base()))
    s = (r + _hash(point, public_key(secret), message) * scalar) % L
    return point + s.to_bytes(32, "little")


def vectors(slot: str, stack: int = 0x2002_0000, reset: int = 0x201 + 8) -> bytes:
    """A body: stack pointer, reset vector, and two words of anything."""
    return struct.pack("<4I", stack, ADDRESS[slot] + reset, 0x2000_4770, 0x0BAD_CAFE)


def image(
    slot: str = "A",
    body: bytes | None = None,
    *,
    secret: bytes | None = SECRET,
    length: int | None = None,
    hardware: bytes = b"opqbox",
    version: int = VERSION,
    header: tuple[bytes, int, int] = (b"OPQF", 1, 512),
    label: bytes = b"1.2.3-rc1",
    change: Callable[[bytearray], None] = lambda data: None,
) -> bytes:
    """A whole image; `change` is done after signing."""
    body = vectors(slot) if body is None else body
    head = struct.pack(
        "<4sHH16sIIII32s40s",
        *header,
        hardware,
        version,
        ADDRESS[slot],
        len(body) if length is None else length,
        0,
        hashlib.sha256(body).digest(),
        label,
    ).ljust(448, b"\0")
    data = bytearray(head + (sign(secret, head) if secret else bytes(64)) + body)
    change(data)
    return bytes(data)


def _flip(at: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[at] ^= 0x01

    return change


def _raise_version(data: bytearray) -> None:
    data[26] += 1


def _add_order(data: bytearray) -> None:
    s = int.from_bytes(data[480:512], "little") + L
    data[480:512] = s.to_bytes(32, "little")


def _cases() -> dict[str, tuple[str, bytes, str]]:
    """Name -> verdict, image, what it is."""
    good = image()
    return {
        "good_a": ("good", good, "a good image for slot A"),
        "good_b": ("good", image("B"), "a good image for slot B"),
        "good_followed": ("good", good + b"\xff" * 7, "bytes behind the body do not matter"),
        "good_longest_words": ("good", image(label=b"x" * 40), "a label as long as its field"),
        "good_ccm_stack": ("good", image(body=vectors("A", 0x1001_0000)), "a stack in CCM"),
        "blank": ("no_magic", b"\xff" * 600, "erased flash"),
        "nothing": ("no_magic", b"", "no byte at all"),
        "no_magic": ("no_magic", image(header=(b"OPQE", 1, 512)), "another file"),
        "cut_in_magic": ("no_magic", good[:3], "three bytes"),
        "cut_in_header": ("truncated", good[:511], "a byte less than a header"),
        "later_header": ("header_unknown", image(header=(b"OPQF", 2, 512)), "a header of a later age"),
        "longer_header": ("header_unknown", image(header=(b"OPQF", 1, 1024)), "a header of another size"),
        "wrong_hardware": ("wrong_hardware", image(hardware=b"pyboard_f405"), "another board's"),
        "longer_hardware": ("wrong_hardware", image(hardware=b"opqbox2"), "ours is only its beginning"),
        "shorter_hardware": ("wrong_hardware", image(hardware=b"opqbo"), "only the beginning of ours"),
        "full_hardware": ("wrong_hardware", image(hardware=b"opqbox0123456789"), "16 bytes and no zero"),
        "no_hardware": ("wrong_hardware", image(hardware=b""), "no name"),
        "wrong_slot": ("wrong_address", image("B"), "linked for the other slot; judged in A"),
        "no_body": ("bad_length", image(body=b"", length=0), "length 0"),
        "short_body": ("bad_length", image(length=4), "no room for two vectors"),
        "odd_length": ("bad_length", image(body=vectors("A") + b"\0\0"), "not whole words"),
        "long_body": ("bad_length", image(length=MAX_BODY + 4), "a word more than a slot holds"),
        "huge_body": ("bad_length", image(length=0xFFFF_FFFC), "a length that would wrap"),
        "downgraded": ("downgrade", image(version=VERSION - 1), "one below the floor"),
        "unsigned": ("unsigned", image(secret=None), "64 zeros for a signature"),
        "unsigned_downgrade": ("downgrade", image(secret=None, version=1), "the first that fails counts"),
        "other_key": ("bad_signature", image(secret=OTHER), "a good signature of somebody else's"),
        "changed_header": ("bad_signature", image(change=_raise_version), "its version raised after signing"),
        "changed_reserved": ("bad_signature", image(change=_flip(400)), "a reserved byte changed"),
        "changed_point": ("bad_signature", image(change=_flip(448)), "a bit of R"),
        "changed_scalar": ("bad_signature", image(change=_flip(511)), "a bit of S"),
        "malleable": ("bad_signature", image(change=_add_order), "S + L: RFC 8032, 5.1.7 wants S < L"),
        "truncated": ("truncated", good[:-1], "a byte is missing at the end"),
        "header_only": ("truncated", good[:512], "no body"),
        "changed_body": ("bad_hash", image(change=_flip(-1)), "a bit of the last byte"),
        "stack_outside": ("bad_vectors", image(body=vectors("A", 0x2002_0008)), "stack behind SRAM"),
        "stack_at_start": ("bad_vectors", image(body=vectors("A", 0x2000_0000)), "a stack without room"),
        "stack_odd": ("bad_vectors", image(body=vectors("A", 0x2001_0004)), "not a multiple of 8 (AAPCS)"),
        "reset_even": ("bad_vectors", image(body=vectors("A", reset=0x208)), "no Thumb bit"),
        "reset_in_header": ("bad_vectors", image(body=vectors("A", reset=0x1FF)), "before the body"),
        "reset_behind": ("bad_vectors", image(body=vectors("A", reset=0x211)), "behind the body"),
        "reset_other_slot": ("bad_vectors", image(body=vectors("B")), "linked for B, header for A"),
    }


def image_cases() -> dict[str, str]:
    """Name -> the file's text."""
    key = public_key(SECRET).hex()
    made = {}
    for name, (verdict, data, what) in _cases().items():
        slot = "B" if name == "good_b" else "A"
        made[name] = (
            f"# {what}\n# source: the layout in README.md; RFC 8032, FIPS 180-4\ncase {name}\nslot {slot}\n"
            f"hardware opqbox\nfloor {VERSION}\nkey {key}\nimage {data.hex()}".rstrip()
            + f"\nverdict {VERDICTS.index(verdict)} {verdict}\n"
        )
    return made
