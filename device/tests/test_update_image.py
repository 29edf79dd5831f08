"""The Box's verdict on images, its hashes and Ed25519: golden vectors, FIPS, RFC 8032, `cryptography`."""

import ctypes
import hashlib
import random
from pathlib import Path

import pytest
from boot_on_pc import HERE, probe
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

GOLDEN = HERE.parents[1] / "proto" / "golden" / "image"
ADDRESS = {"A": 0x0802_0000, "B": 0x0808_0000}


@pytest.fixture(scope="module")
def c() -> ctypes.CDLL:
    return probe()


def case(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    return {word: rest for word, _, rest in (line.partition(" ") for line in lines)}


@pytest.mark.parametrize("path", sorted(GOLDEN.iterdir()), ids=lambda path: path.stem)
def test_the_box_gives_a_golden_image_its_verdict(c: ctypes.CDLL, path: Path) -> None:
    words = case(path)
    image = bytes.fromhex(words.get("image", ""))
    found = c.probe_verdict(
        image,
        ctypes.c_size_t(len(image)),
        ADDRESS[words["slot"]],
        words["hardware"].encode(),
        int(words["floor"]),
        bytes.fromhex(words["key"]),
    )
    assert found == int(words["verdict"].split()[0])


def digest(c: ctypes.CDLL, name: str, data: bytes, piece: int) -> str:
    out = ctypes.create_string_buffer(64)
    getattr(c, f"probe_{name}")(data, ctypes.c_size_t(len(data)), ctypes.c_size_t(piece), out)
    return out.raw[: 32 if name == "sha256" else 64].hex()


def test_sha256_equals_fips_180_4(c: ctypes.CDLL) -> None:
    assert (
        digest(c, "sha256", b"abc", 1) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_sha512_equals_fips_180_4(c: ctypes.CDLL) -> None:
    assert digest(c, "sha512", b"abc", 1).startswith("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea2")


@pytest.mark.parametrize("name", ["sha256", "sha512"])
def test_hashes_are_right_in_pieces(c: ctypes.CDLL, name: str) -> None:
    data = random.Random(3).randbytes(300)
    for length in range(300):
        wanted = hashlib.new(name, data[:length]).hexdigest()
        for piece in (1, 7, 64, 128, 300):
            assert digest(c, name, data[:length], piece) == wanted, (length, piece)


def good(c: ctypes.CDLL, signature: bytes, key: bytes, message: bytes) -> bool:
    return bool(c.probe_ed25519(signature, key, message, ctypes.c_size_t(len(message))))


@pytest.mark.parametrize(
    ("key", "message", "signature"),
    [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ],
    ids=["TEST 1", "TEST 2", "TEST 3"],
)
def test_the_vectors_of_rfc_8032_hold(c: ctypes.CDLL, key: str, message: str, signature: str) -> None:
    raw = bytearray.fromhex(signature)
    assert good(c, bytes(raw), bytes.fromhex(key), bytes.fromhex(message))
    for at in range(64):
        raw[at] ^= 0x40
        assert not good(c, bytes(raw), bytes.fromhex(key), bytes.fromhex(message)), at
        raw[at] ^= 0x40


def test_the_box_takes_only_signed_images(c: ctypes.CDLL) -> None:
    source = random.Random(11)
    for length in (0, 1, 63, 64, 65, 448, 1000):
        private = Ed25519PrivateKey.from_private_bytes(source.randbytes(32))
        key, message = private.public_key().public_bytes_raw(), source.randbytes(length)
        signature = private.sign(message)
        assert good(c, signature, key, message)
        assert not good(c, signature, key, message + b"\0")
        assert not good(c, signature, source.randbytes(32), message)


ORDER = 2**252 + 27742317777372353535851937790883648493
"""L of RFC 8032, 5.1."""


@pytest.mark.parametrize("times", [1, 2, 7])
def test_a_signature_has_one_form_only(c: ctypes.CDLL, times: int) -> None:
    """RFC 8032, 5.1.7: S + L fulfils the equation as well as S, and is refused."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    key, message = private.public_key().public_bytes_raw(), b"an image's header"
    signature = private.sign(message)
    assert good(c, signature, key, message)
    other = int.from_bytes(signature[32:], "little") + times * ORDER
    assert not good(c, signature[:32] + other.to_bytes(32, "little"), key, message)
