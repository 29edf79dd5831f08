"""Firmware images: the golden verdicts, what is made reads back, and clear words for what is not firmware."""

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_proto.firmware.image import (
    HEADER_BYTES,
    MAX_BODY_BYTES,
    SIGNED_BYTES,
    VERDICT_WORDS,
    ImageError,
    Slot,
    Verdict,
    judge,
    make_image,
    pack_bundle,
    read_bundle,
    read_header,
    sign_image,
    version_number,
    version_text,
)
from opq_proto.keys.signing import PublicKey

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "image"
SIGNATURE = b"S" * 64


def case(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    return {word: rest for word, _, rest in (line.partition(" ") for line in lines)}


def body(slot: Slot, length: int = 16) -> bytes:
    return struct.pack("<II", 0x2002_0000, slot.address + HEADER_BYTES + 9).ljust(length, b"\x5a")


def an_image(slot: Slot = Slot.A, **changes: Any) -> bytes:
    facts: dict[str, Any] = {
        "hardware": "opqbox",
        "version": 0x01020003,
        "slot": slot,
        "sign": lambda _: SIGNATURE,
    }
    return make_image(changes.pop("body", body(slot)), **facts | changes)


def verdict_of(image: bytes, slot: Slot = Slot.A, floor: int = 0) -> Verdict:
    return judge(
        image, slot=slot, hardware="opqbox", floor_version=floor, check=lambda sig, _: sig == SIGNATURE
    )


@pytest.mark.parametrize("path", sorted(GOLDEN.iterdir()), ids=lambda path: path.stem)
def test_a_golden_image_earns_its_verdict(path: Path) -> None:
    words = case(path)
    found = judge(
        bytes.fromhex(words.get("image", "")),
        slot=Slot[words["slot"]],
        hardware=words["hardware"],
        floor_version=int(words["floor"]),
        check=PublicKey(bytes.fromhex(words["key"])).is_signed,
    )
    assert f"{found.value} {found.name.lower()}" == words["verdict"]


def test_every_verdict_has_a_golden_case_and_words() -> None:
    assert {case(path)["verdict"].split()[1] for path in GOLDEN.iterdir()} == {
        v.name.lower() for v in Verdict
    }
    assert set(VERDICT_WORDS) == set(Verdict)


def test_an_image_says_what_it_was_made_of() -> None:
    header = read_header(an_image(Slot.B, label="1.2.3-rc1", flags=1))
    assert (header.hardware, header.version, header.label) == ("opqbox", 0x01020003, "1.2.3-rc1")
    assert (header.load_address, header.length, header.flags) == (0x08080000, 16, 1)
    assert header.signature == SIGNATURE
    assert header.signed


def test_the_signature_covers_the_whole_header() -> None:
    covered = []
    image = an_image(sign=lambda message: covered.append(message) or SIGNATURE)  # type: ignore[func-returns-value]
    assert covered == [image[:SIGNED_BYTES]]
    assert sign_image(image, lambda message: bytes(63) + b"x")[SIGNED_BYTES:HEADER_BYTES] == bytes(63) + b"x"


def test_a_body_is_padded_with_erased_bytes() -> None:
    assert an_image(body=body(Slot.A, 17))[HEADER_BYTES + 17 :] == b"\xff\xff\xff"


@pytest.mark.parametrize(
    "changes",
    [
        {"body": b""},
        {"body": b"1234567"[:4]},
        {"body": bytes(MAX_BODY_BYTES + 1)},
        {"hardware": "x" * 17},
        {"hardware": "a\0b"},
        {"label": "x" * 41},
        {"label": "é" * 21},
        {"sign": lambda _: b"short"},
    ],
)
def test_an_image_that_cannot_be_is_not_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ImageError):
        an_image(**changes)


def test_the_longest_body_fits() -> None:
    assert verdict_of(an_image(body=body(Slot.A, MAX_BODY_BYTES))) is Verdict.GOOD


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.1.0", 0x00010000),
        ("1.2.3", 0x01020003),
        ("v255.255.65535", 0xFFFFFFFF),
        ("1.2.3-4-gabcdef", 0x01020003),
    ],
)
def test_versions_are_numbers_that_sort(text: str, number: int) -> None:
    assert version_number(text) == number
    assert version_text(number) == text.removeprefix("v").split("-")[0]


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "1.2.3.4", "a.b.c", "256.0.0", "1.0.65536", "-1.0.0", "1.2.3.", "١.2.3"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ImageError, match="version"):
        version_number(text)


def test_a_bundle_gives_back_its_images() -> None:
    images = {Slot.A: an_image(Slot.A), Slot.B: an_image(Slot.B, body=body(Slot.B, 400))}
    assert read_bundle(pack_bundle(images)) == images
    assert read_bundle(pack_bundle({Slot.B: images[Slot.B]})) == {Slot.B: images[Slot.B]}
    assert read_bundle(images[Slot.A]) == {Slot.A: images[Slot.A]}


def test_a_misplaced_image_in_a_bundle_is_refused() -> None:
    with pytest.raises(ImageError, match="slot B"):
        pack_bundle({Slot.B: an_image(Slot.A)})
    with pytest.raises(ImageError, match="no image"):
        pack_bundle({})


def test_a_cut_bundle_is_refused() -> None:
    whole = pack_bundle({Slot.A: an_image(Slot.A), Slot.B: an_image(Slot.B)})
    for length in range(len(whole)):
        with pytest.raises(ImageError):
            read_bundle(whole[:length])


@given(st.binary(max_size=700))
def test_arbitrary_bytes_are_an_error_or_images(data: bytes) -> None:
    for start in (b"", b"OPQF", b"OPQW\x01\x00\x02\x00"):
        try:
            found = read_bundle(start + data)
        except ImageError as error:
            assert str(error)
        else:
            assert all(read_header(image) for image in found.values())


@settings(deadline=None)
@given(st.integers(0, HEADER_BYTES + 15), st.integers(1, 255))
def test_a_changed_byte_is_never_good(at: int, flip: int) -> None:
    def check(signature: bytes, message: bytes) -> bool:
        return signature == SIGNATURE and message == good[:SIGNED_BYTES]

    good = an_image()
    changed = bytearray(good)
    changed[at] ^= flip
    found = judge(bytes(changed), slot=Slot.A, hardware="opqbox", floor_version=0, check=check)
    assert found is not Verdict.GOOD
    assert judge(good, slot=Slot.A, hardware="opqbox", floor_version=0, check=check) is Verdict.GOOD


@given(
    st.binary(min_size=8, max_size=64),
    st.integers(0, 0xFFFFFFFF),
    st.sampled_from(Slot),
    st.text(max_size=10),
)
def test_whatever_is_packed_reads_back(content: bytes, version: int, slot: Slot, label: str) -> None:
    if "\0" in label or len(label.encode()) > 40:
        return
    image = an_image(slot, body=content, version=version, label=label)
    header = read_header(read_bundle(pack_bundle({slot: image}))[slot])
    assert (header.version, header.label, header.load_address) == (version, label, slot.address)
    assert image[HEADER_BYTES : HEADER_BYTES + len(content)] == content
