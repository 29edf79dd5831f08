"""Signing and verifying, both ways against the openssl program."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from opq_proto.errors import OpqError
from opq_proto.firmware.image import Slot, make_image, pack_bundle, read_bundle, read_header
from opq_proto.keys.signing import SigningError, development_key, firmware_key, new_key
from opq_tools.firmware.release.sign import command as sign

BODY = bytes.fromhex("00000220010202080102030405060708")
"""Stack at the end of SRAM, reset at slot A + 0x201: a sane vector table for slot A."""
BODY_B = bytes.fromhex("00000220010208080102030405060708")


@pytest.fixture
def openssl() -> str:
    found = shutil.which("openssl")
    if found is None:
        pytest.skip("no openssl program here: apt install openssl")
    return found


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(list(map(str, command)), capture_output=True, timeout=240, check=False, **options)  # type: ignore[call-overload,no-any-return]


def ours(command: object, *arguments: str | Path) -> Result:
    result = CliRunner().invoke(command, list(map(str, arguments)))  # type: ignore[arg-type]
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        assert isinstance(result.exception, OpqError), result.exception
    return result


def verify(*arguments: str | Path) -> Result:
    return ours(sign, "--verify", *arguments)


def openssl_key(openssl: str, folder: Path, kind: str) -> tuple[Path, Path]:
    private, public = folder / f"{kind}.pem", folder / f"{kind}.pub"
    options = {
        "rsa": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
        "ec": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
        "ed25519": ("-algorithm", "ED25519"),
    }[kind]
    assert run(openssl, "genpkey", *options, "-out", private).returncode == 0
    assert run(openssl, "pkey", "-in", private, "-pubout", "-out", public).returncode == 0
    return private, public


def firmware(folder: Path, signing: Path | None) -> Path:
    sign_with = firmware_key(signing).sign if signing else None
    images = {
        slot: make_image(
            body, hardware="opqbox", version=0x01020003, slot=slot, label="1.2.3-rc1", sign=sign_with
        )
        for slot, body in ((Slot.A, BODY), (Slot.B, BODY_B))
    }
    path = folder / "firmware.opqfw"
    path.write_bytes(pack_bundle(images))
    return path


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_openssl_verifies_our_original_signatures(openssl: str, tmp_path: Path, kind: str) -> None:
    private, public = openssl_key(openssl, tmp_path, kind)
    package = tmp_path / "package.tar.bz2"
    package.write_bytes(bytes(range(256)) * 40)
    assert ours(sign, private, package).exit_code == 0
    text = (tmp_path / "package.tar.bz2.sig").read_text()
    assert all(len(line) == 64 for line in text.splitlines()[:-1])
    assert text.endswith("\n")
    raw = tmp_path / "raw"
    assert run(openssl, "base64", "-d", "-in", f"{package}.sig", "-out", raw).returncode == 0
    done = run(openssl, "dgst", "-sha256", "-verify", public, "-signature", raw, package)
    assert (done.returncode, done.stdout.strip()) == (0, b"Verified OK")


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_we_verify_openssls_original_signatures(openssl: str, tmp_path: Path, kind: str) -> None:
    private, public = openssl_key(openssl, tmp_path, kind)
    package, raw, sig = tmp_path / "package", tmp_path / "raw", tmp_path / "original.sig"
    package.write_bytes(b"an update of the original\n" * 99)
    assert run(openssl, "dgst", "-sha256", "-sign", private, "-out", raw, package).returncode == 0
    assert run(openssl, "base64", "-in", raw, "-out", sig).returncode == 0
    assert verify(public, package, sig).exit_code == 0
    assert verify(public, package, raw).exit_code == 0
    package.write_bytes(package.read_bytes() + b"x")
    result = verify(public, package, sig)
    assert result.exit_code == 1
    assert "NOT signed" in result.output


def test_an_ed25519_signature_goes_both_ways_too(openssl: str, tmp_path: Path) -> None:
    private, public = openssl_key(openssl, tmp_path, "ed25519")
    file = tmp_path / "notes.txt"
    file.write_bytes(b"nothing but text")
    assert ours(sign, private, file).exit_code == 0
    raw = tmp_path / "raw"
    raw.write_bytes(base64.b64decode((tmp_path / "notes.txt.sig").read_bytes()))
    done = run(
        openssl, "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", file, "-sigfile", raw
    )
    assert done.returncode == 0, done.stderr
    assert (
        run(openssl, "pkeyutl", "-sign", "-inkey", private, "-rawin", "-in", file, "-out", raw).returncode
        == 0
    )
    assert verify(public, file, raw).exit_code == 0


def test_openssl_reads_the_pair_that_we_make(openssl: str, tmp_path: Path) -> None:
    key = tmp_path / "release.pem"
    result = ours(sign, "--new-key", key)
    assert result.exit_code == 0
    assert key.stat().st_mode & 0o777 == 0o600
    done = run(openssl, "pkey", "-in", key, "-pubout")
    assert done.stdout.decode() == (tmp_path / "release.pem.pub").read_text()


def test_a_key_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    key = tmp_path / "release.pem"
    new_key(key)
    before = key.read_bytes()
    result = ours(sign, "--new-key", key)
    assert isinstance(result.exception, SigningError)
    assert "nothing was changed" in str(result.exception)
    assert key.read_bytes() == before


def test_firmware_is_verified_as_a_box_would(tmp_path: Path) -> None:
    key = tmp_path / "release.pem"
    public = new_key(key)
    file = firmware(tmp_path, None)
    unsigned = verify(public, file)
    assert unsigned.exit_code == 1
    assert "slot A: opqbox 1.2.3 1.2.3-rc1: not signed" in unsigned.output
    assert ours(sign, key, file).exit_code == 0
    result = verify(public, file)
    assert (result.exit_code, result.stdout.count("good")) == (0, 2)
    assert not list(tmp_path.glob("*.sig"))


def test_signing_changes_nothing_but_the_signature(tmp_path: Path) -> None:
    key = tmp_path / "release.pem"
    new_key(key)
    file = firmware(tmp_path, None)
    before = read_bundle(file.read_bytes())
    ours(sign, key, file, "--out", tmp_path / "signed.opqfw")
    after = read_bundle((tmp_path / "signed.opqfw").read_bytes())
    for slot, image in before.items():
        assert not read_header(image).signed
        assert read_header(after[slot]).signed
        assert after[slot][:448] + after[slot][512:] == image[:448] + image[512:]
    assert read_bundle(file.read_bytes()) == before


def test_another_key_or_changed_byte_is_refused(tmp_path: Path) -> None:
    key, other = tmp_path / "release.pem", tmp_path / "other.pem"
    public, other_public = new_key(key), new_key(other)
    file = firmware(tmp_path, key)
    assert verify(public, file).exit_code == 0
    result = verify(other_public, file)
    assert (result.exit_code, result.stdout.count("another key")) == (1, 2)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    result = verify(public, file)
    assert result.exit_code == 1
    assert "slot B: opqbox 1.2.3 1.2.3-rc1: changed" in result.output


def test_a_cut_firmware_file_is_named(
    tmp_path: Path,
) -> None:
    key = tmp_path / "release.pem"
    public = new_key(key)
    cut, other = tmp_path / "cut.opqfw", tmp_path / "flash.bin"
    cut.write_bytes(firmware(tmp_path, key).read_bytes()[:700])
    other.write_bytes(b"data")
    for result in (ours(sign, key, cut), verify(public, cut)):
        assert str(result.exception).startswith(f"{cut}: the firmware file is cut")
    assert "no signature of it is beside it (flash.bin.sig)" in str(verify(public, other).exception)


def test_the_json_verdict_is_one_document(
    tmp_path: Path,
) -> None:
    key = tmp_path / "release.pem"
    public = new_key(key)
    image = make_image(
        BODY, hardware="opqbox", version=0x01020003, slot=Slot.A, label="1.2.3", sign=firmware_key(key).sign
    )
    file = tmp_path / "a.bin"
    file.write_bytes(image)
    result = verify(public, file, "--json")
    assert json.loads(result.stdout) == {"good": True, "verdicts": {"slot A: opqbox 1.2.3": "good"}}
    file.write_bytes(image[:-1] + b"x")
    changed = verify(public, file, "--json")
    assert (changed.exit_code, json.loads(changed.stdout)["good"]) == (1, False)


def test_firmware_takes_a_signature_beside_it_when_told(tmp_path: Path) -> None:
    key = tmp_path / "release.pem"
    public = new_key(key)
    file = firmware(tmp_path, None)
    before = file.read_bytes()
    assert ours(sign, key, file, "--detached").exit_code == 0
    assert file.read_bytes() == before
    assert verify(public, file, tmp_path / "firmware.opqfw.sig").exit_code == 0


def test_an_rsa_key_signs_no_firmware(openssl: str, tmp_path: Path) -> None:
    private, public = openssl_key(openssl, tmp_path, "rsa")
    file = firmware(tmp_path, None)
    for result in (ours(sign, private, file), verify(public, file)):
        assert "Ed25519" in str(result.exception)


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    bad, file = tmp_path / "bad.pem", tmp_path / "file"
    bad.write_bytes(content)
    file.write_bytes(b"data")
    for result in (
        ours(sign, bad, file),
        verify(bad, file, file),
        ours(sign, tmp_path / "absent", file),
    ):
        assert isinstance(result.exception, SigningError)
        assert not list(tmp_path.glob("*.sig"))


def test_an_encrypted_key_says_what_to_do(openssl: str, tmp_path: Path) -> None:
    key = tmp_path / "locked.pem"
    run(openssl, "genpkey", "-algorithm", "ED25519", "-aes256", "-pass", "pass:secret", "-out", key)
    file = tmp_path / "file"
    file.write_bytes(b"data")
    assert "encrypted" in str(ours(sign, key, file).exception)


def test_signing_as_json_names_its_files(tmp_path: Path) -> None:
    key, file = tmp_path / "release.pem", firmware(tmp_path, None)
    made = json.loads(ours(sign, "--new-key", key, file, "--json").stdout)
    assert made.keys() == {"key", "public_key", "file", "images", "signed_by"}
    assert (made["public_key"], made["file"], made["images"]) == (f"{key}.pub", str(file), "A and B")
    assert verify(made["public_key"], file).exit_code == 0


def test_checking_writes_nothing_and_signing_takes_no_signature(tmp_path: Path) -> None:
    key, file = tmp_path / "release.pem", firmware(tmp_path, None)
    new_key(key)
    refused = verify(key, file, "--detached")
    assert refused.exit_code == 2 and "--verify writes nothing" in refused.output
    refused = ours(sign, key, file, tmp_path / "x.sig")
    assert refused.exit_code == 2 and "--out names the file" in refused.output


def test_an_absent_file_differs_from_a_missing_argument(tmp_path: Path) -> None:
    key = tmp_path / "release.pem"
    new_key(key)
    assert isinstance(ours(sign, key, tmp_path / "absent").exception, SigningError)
    assert ours(sign, key).exit_code == 2


def test_the_development_key_is_made_once(tmp_path: Path) -> None:
    first = development_key(tmp_path)
    content = first.read_bytes()
    assert development_key(tmp_path) == first
    assert first.read_bytes() == content
