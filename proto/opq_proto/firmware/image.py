"""Firmware images and the `.opqfw` file that contains one per slot; layout in proto/golden/README.md.

The Box makes the same checks in the same order (device/cmodules/update/image.c), and the golden vectors test
that both give the same verdicts. The caller passes functions that sign and check (`keys.signing`).
"""

import hashlib
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from opq_proto.errors import OpqError

HEADER_BYTES = 512
SIGNED_BYTES = 448
SIGNATURE_BYTES = 64
SLOT_BYTES = 0x6_0000
STATUS_BYTES = 1024
"""The Box's own marks at the end of a slot."""
MAX_FILE_BYTES = 2_000_000
"""Largest `.opqfw` that a gateway accepts: more than two images of 384 KB."""
WRITING = ("erasing", "sending", "verifying")
"""States of a gateway's update while the Box is being written."""
MAX_BODY_BYTES = SLOT_BYTES - HEADER_BYTES - STATUS_BYTES
PIECE_BYTES = 1024
"""Most image bytes of one UpdateData of the link."""
ERASE_S = 30.0
"""Time for three sectors of 128 KB, 4 s each at most (DS8626 table 40), and the Box's other work."""
HARDWARE_BYTES = 16
LABEL_BYTES = 40
FLAG_DEVELOPMENT_KEY = 1
"""Signed with a key that was made for one machine, not with a release's key."""

_HEADER = struct.Struct("<4sHH16sIIII32s40s")
_MAGIC = b"OPQF"
_VERSION = 1
"""Of the header of an image, which the boot loader reads too."""
_BUNDLE = struct.Struct("<4sHH")
_ENTRY = struct.Struct("<III")
_BUNDLE_MAGIC = b"OPQW"
_BUNDLE_VERSION = 1

Sign = Callable[[bytes], bytes]
"""Message -> Ed25519 signature, 64 bytes."""
Check = Callable[[bytes, bytes], bool]
"""Signature and message -> whether it is the expected key's."""


class ImageError(OpqError):
    """Bytes are not a firmware file, or an image cannot be made."""


class Slot(IntEnum):
    """A place in flash from which firmware runs."""

    A = 0
    B = 1

    @property
    def address(self) -> int:
        """Address of the header; the vector table follows it."""
        return (0x0802_0000, 0x0808_0000)[self]

    @property
    def other(self) -> "Slot":
        """The slot that an update goes to while this one runs."""
        return Slot.B if self is Slot.A else Slot.A


class Verdict(IntEnum):
    """Results of the checks, in their order: the first check that fails gives the verdict."""

    GOOD = 0
    NO_MAGIC = 1
    HEADER_UNKNOWN = 2
    WRONG_HARDWARE = 3
    WRONG_ADDRESS = 4
    BAD_LENGTH = 5
    DOWNGRADE = 6
    UNSIGNED = 7
    BAD_SIGNATURE = 8
    TRUNCATED = 9
    BAD_HASH = 10
    BAD_VECTORS = 11


VERDICT_WORDS: Mapping[Verdict, str] = {
    Verdict.GOOD: "good",
    Verdict.NO_MAGIC: "not a firmware image: it does not begin with OPQF",
    Verdict.HEADER_UNKNOWN: "a header of another version",
    Verdict.WRONG_HARDWARE: "for other hardware",
    Verdict.WRONG_ADDRESS: "linked for the other slot",
    Verdict.BAD_LENGTH: "an impossible length",
    Verdict.DOWNGRADE: "older than what the Box has confirmed",
    Verdict.UNSIGNED: "not signed",
    Verdict.BAD_SIGNATURE: "signed by another key, or its header was changed",
    Verdict.TRUNCATED: "shorter than its header says",
    Verdict.BAD_HASH: "changed: the SHA-256 is not the header's",
    Verdict.BAD_VECTORS: "its stack pointer or reset vector points nowhere",
}
_VERDICT = re.compile(r"verdict (\d+)", re.ASCII)


def refusal_words(status: str, detail: str) -> str:
    """Returns why a Box refused an image, from its acknowledgement: the verdict, else status and detail."""
    found = _VERDICT.fullmatch(detail)
    if found and int(found[1]) in set(Verdict):
        return VERDICT_WORDS[Verdict(int(found[1]))]
    return f"{status.lower().replace('_', ' ')}{': ' if detail else ''}{detail}"


@dataclass(frozen=True, slots=True)
class Header:
    """The header of an image."""

    hardware: str
    version: int
    """major << 24 | minor << 16 | patch"""
    load_address: int
    length: int
    """Bytes of the body, without the header."""
    sha256: bytes
    label: str
    flags: int
    signature: bytes

    @property
    def signed(self) -> bool:
        return any(self.signature)


def version_number(text: str) -> int:
    """Returns the number of 1.2.3, or of the beginning of 1.2.3-4-gabcdef.

    Raises:
        ImageError: the text has another form.
    """
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)(?![\d.])", text, re.ASCII)
    if match is None:
        raise ImageError(f"version {text!r}: want three numbers such as 1.2.3")
    major, minor, patch = map(int, match.groups())
    if major > 0xFF or minor > 0xFF or patch > 0xFFFF:
        raise ImageError(f"version {text!r}: at most 255.255.65535")
    return major << 24 | minor << 16 | patch


def version_text(version: int) -> str:
    return f"{version >> 24}.{version >> 16 & 0xFF}.{version & 0xFFFF}"


def make_image(
    body: bytes,
    *,
    hardware: str,
    version: int,
    slot: Slot,
    label: str = "",
    flags: int = 0,
    sign: Sign | None,
) -> bytes:
    """Makes an image: header and body, padded with 0xFF to whole words; unsigned where `sign` is None.

    Raises:
        ImageError: the body does not fit, or a text is too long.
    """
    body += b"\xff" * (-len(body) % 4)
    if not 8 <= len(body) <= MAX_BODY_BYTES:
        raise ImageError(f"{len(body)} bytes of firmware; want 8 to {MAX_BODY_BYTES}, the size of a slot")
    name = _text(hardware, HARDWARE_BYTES, "hardware")
    head = _HEADER.pack(
        _MAGIC,
        _VERSION,
        HEADER_BYTES,
        name,
        version,
        slot.address,
        len(body),
        flags,
        sha256_of(body),
        _text(label, LABEL_BYTES, "label"),
    ).ljust(SIGNED_BYTES, b"\0")
    signature = bytes(SIGNATURE_BYTES) if sign is None else sign(head)
    if len(signature) != SIGNATURE_BYTES:
        raise ImageError(f"a signature of {len(signature)} bytes; Ed25519 has {SIGNATURE_BYTES}")
    return head + signature + body


def sign_image(image: bytes, sign: Sign) -> bytes:
    """Returns the image with a new signature."""
    read_header(image)
    return image[:SIGNED_BYTES] + sign(image[:SIGNED_BYTES]) + image[HEADER_BYTES:]


def sha256_of(data: bytes | bytearray) -> bytes:
    return hashlib.sha256(data).digest()


def _text(text: str, room: int, what: str) -> bytes:
    raw = text.encode()
    if len(raw) > room or b"\0" in raw:
        raise ImageError(f"{what} {text!r} is longer than {room} bytes")
    return raw.ljust(room, b"\0")


def read_header(image: bytes) -> Header:
    """Reads the header of an image, without checks of its values.

    Raises:
        ImageError: the bytes do not begin with a header.
    """
    if len(image) < HEADER_BYTES or image[:4] != _MAGIC:
        raise ImageError("not a firmware image: want OPQF and a header of 512 bytes")
    _, _, _, hardware, version, address, length, flags, digest, label = _HEADER.unpack_from(image)
    return Header(
        _words(hardware),
        version,
        address,
        length,
        digest,
        _words(label),
        flags,
        image[SIGNED_BYTES:HEADER_BYTES],
    )


@dataclass(frozen=True, slots=True)
class FirmwareFile:
    """Facts of a firmware file; only the Box can check its signatures."""

    version: int
    hardware: str
    label: str
    slots: tuple[Slot, ...]
    development_key: bool


def describe_firmware(data: bytes) -> FirmwareFile:
    """Returns what is in the file, with all checks that need no Box and no key.

    Raises:
        ImageError: no Box would accept it; the text says why.
    """
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"{len(data)} bytes; a gateway takes {MAX_FILE_BYTES} at most")
    found = []
    for slot, image in read_bundle(data).items():
        header = read_header(image)
        verdict = judge(
            image, slot=slot, hardware=header.hardware, floor_version=0, check=lambda signature, message: True
        )
        if verdict is not Verdict.GOOD:
            raise ImageError(f"image {slot.name} is {VERDICT_WORDS[verdict]}")
        found.append((slot, header))
    slots, first = tuple(slot for slot, _ in found), found[0][1]
    if any((each.hardware, each.version) != (first.hardware, first.version) for _, each in found):
        raise ImageError("its images are of different versions or for different hardware")
    development = any(each.flags & FLAG_DEVELOPMENT_KEY for _, each in found)
    return FirmwareFile(first.version, first.hardware, first.label, slots, development)


def _words(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode(errors="replace")


def judge(image: bytes, *, slot: Slot, hardware: str, floor_version: int, check: Check) -> Verdict:
    """Returns the verdict of a Box of this hardware on the image in this slot."""
    if len(image) < HEADER_BYTES:
        return Verdict.TRUNCATED if image[:4] == _MAGIC else Verdict.NO_MAGIC
    if image[:4] != _MAGIC:
        return Verdict.NO_MAGIC
    _, header_version, header_bytes, name, version, address, length, _, digest, _ = _HEADER.unpack_from(image)
    if (header_version, header_bytes) != (_VERSION, HEADER_BYTES):
        return Verdict.HEADER_UNKNOWN
    if name.split(b"\0")[0] != hardware.encode():
        return Verdict.WRONG_HARDWARE
    if address != slot.address:
        return Verdict.WRONG_ADDRESS
    if not 8 <= length <= MAX_BODY_BYTES or length % 4:
        return Verdict.BAD_LENGTH
    if version < floor_version:
        return Verdict.DOWNGRADE
    if not any(image[SIGNED_BYTES:HEADER_BYTES]):
        return Verdict.UNSIGNED
    if not check(image[SIGNED_BYTES:HEADER_BYTES], image[:SIGNED_BYTES]):
        return Verdict.BAD_SIGNATURE
    body = image[HEADER_BYTES : HEADER_BYTES + length]
    if len(body) < length:
        return Verdict.TRUNCATED
    if sha256_of(body) != digest:
        return Verdict.BAD_HASH
    stack, reset = struct.unpack_from("<II", body)
    in_ram = 0x2000_0000 < stack <= 0x2002_0000 or 0x1000_0000 < stack <= 0x1001_0000  # RM0090 2.3.1
    begin = address + HEADER_BYTES
    sane = in_ram and stack % 8 == 0 and reset & 1 and begin < reset < begin + length
    return Verdict.GOOD if sane else Verdict.BAD_VECTORS


def pack_bundle(images: Mapping[Slot, bytes]) -> bytes:
    """Returns the `.opqfw` file of these images.

    Raises:
        ImageError: there is no image, or one was made for another slot.
    """
    if not images:
        raise ImageError("the firmware file has no image")
    offset = HEADER_BYTES
    head = _BUNDLE.pack(_BUNDLE_MAGIC, _BUNDLE_VERSION, len(images))
    body = b""
    for slot, image in sorted(images.items()):
        if read_header(image).load_address != slot.address:
            raise ImageError(
                f"the image for slot {slot.name} was linked for 0x{read_header(image).load_address:08x}"
            )
        head += _ENTRY.pack(slot, offset + len(body), len(image))
        body += image
    head += struct.pack("<I", zlib.crc32(head))
    return head.ljust(offset, b"\0") + body


def read_bundle(data: bytes) -> dict[Slot, bytes]:
    """Returns the images of a `.opqfw` file, or a single image; does not check signatures.

    Raises:
        ImageError: the bytes are neither, cut, or damaged.
    """
    if data[:4] == _MAGIC:
        address = read_header(data).load_address
        slots = {slot.address: slot for slot in Slot}
        if address not in slots:
            raise ImageError(f"an image for 0x{address:08x}, where there is no slot")
        return {slots[address]: data}
    if data[:4] != _BUNDLE_MAGIC or len(data) < HEADER_BYTES:
        raise ImageError("not a firmware file: want a .opqfw, or an image that begins with OPQF")
    _, version, count = _BUNDLE.unpack_from(data)
    if version != _BUNDLE_VERSION or not 1 <= count <= len(Slot):
        raise ImageError(
            f"a firmware file of version {version} with {count} images; want version 1 with 1 or 2"
        )
    end = _BUNDLE.size + count * _ENTRY.size
    if zlib.crc32(data[:end]) != int.from_bytes(data[end : end + 4], "little"):
        raise ImageError("the firmware file is damaged: its table of contents is inconsistent")
    found = {}
    for entry in range(count):
        number, offset, length = _ENTRY.unpack_from(data, _BUNDLE.size + entry * _ENTRY.size)
        if number not in (0, 1) or offset + length > len(data):
            raise ImageError(f"the firmware file is cut: want {offset + length} bytes, have {len(data)}")
        found[Slot(number)] = data[offset : offset + length]
        if read_header(found[Slot(number)]).load_address != Slot(number).address:
            raise ImageError(f"the firmware file's image {Slot(number).name} was linked for the other slot")
    return found
