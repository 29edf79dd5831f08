"""`opq-tools release sign`: makes and checks signatures: in firmware, in repositories, and beside any file.

A detached signature has the original's form: FILE.sig is base64 in lines of 64 columns. RSA, EC and DSA keys
sign as `openssl dgst -sha256 -sign KEY` does (docs/reference/opq-interop.md F.2); Ed25519 keys sign the file
itself (RFC 8032), as `openssl pkeyutl -sign -rawin` does. Either program verifies signatures of the other.
"""

import base64
import binascii
import json
import sys
import textwrap
from pathlib import Path

import click
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256

from opq_proto.firmware.image import (
    VERDICT_WORDS,
    ImageError,
    Verdict,
    judge,
    pack_bundle,
    read_bundle,
    read_header,
    sign_image,
    version_text,
)
from opq_proto.keys.signing import (
    SigningError,
    firmware_key,
    firmware_public_key,
    new_key,
    public_of,
    read_private,
    read_public,
)
from opq_proto.kit.shared_options import json_option
from opq_proto.kit.whole_file import write_whole_file

FIRMWARE = (b"OPQF", b"OPQW")
"""First bytes of an image and of a .opqfw file."""


@click.command("sign", short_help="Sign firmware or any file, or check a signature.")
@click.argument("key", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.argument("sig", type=click.Path(path_type=Path), required=False)
@click.option(
    "--out", type=click.Path(path_type=Path), help="File to write. Default: the firmware itself, or FILE.sig."
)
@click.option("--detached", is_flag=True, help="Write FILE.sig for firmware, too.")
@click.option("--new-key", "make_key", is_flag=True, help="Make an Ed25519 pair: the files KEY and KEY.pub.")
@click.option("--verify", is_flag=True, help="Check the signature; KEY may be the public one.")
@json_option
def command(
    key: Path,
    file: Path | None,
    sig: Path | None,
    out: Path | None,
    detached: bool,
    make_key: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Sign FILE with the private KEY (PEM), or check its signature.

    Firmware (.opqfw or one image) gets an Ed25519 signature in its header. A staged file of a repository
    (root.json, targets.json) gets a further signature. Any other file gets FILE.sig
    in the form of the original's opq-sign.sh, by an Ed25519, RSA, EC or DSA key; opq-verify.sh reads it.

    With --verify, firmware is checked as a Box would: header, Ed25519 signature, SHA-256, vectors, for each
    slot. With SIG, and for any other file, it is the signature in SIG (default FILE.sig), as openssl or
    opq-sign.sh made it. Exit code 1: the signature is not valid.

    \b
    Examples: opq-tools release sign --new-key release.pem
              opq-tools release sign release.pem firmware.opqfw
              opq-tools release sign --verify release.pem.pub firmware.opqfw
    """
    if verify:
        if out is not None or detached or make_key:
            raise click.UsageError("--verify writes nothing: leave --out, --detached and --new-key out")
        if file is None:
            raise click.UsageError("FILE is missing: name the file to be checked")
        _verify(key, file, sig, as_json)
        return
    if sig is not None:
        raise click.UsageError(f"{str(sig)!r} is more than this command takes; --out names the file to write")
    if file is None and not make_key:
        raise click.UsageError("FILE is missing: name the file to be signed")
    facts: dict[str, str] = {}
    if make_key:
        facts |= {"key": str(key), "public_key": str(new_key(key))}
        if not as_json:
            click.echo(f"{key}\n{facts['public_key']}")
    if file is not None:
        signed = _sign(key, file, out, detached)
        facts |= signed
        if not as_json:
            click.echo(signed["file"])
            if "images" in signed:
                click.echo(f"images {signed['images']} signed by {signed['signed_by']}")
    if as_json:
        click.echo(json.dumps(facts, indent=1))


def _sign(key: Path, file: Path, out: Path | None, detached: bool) -> dict[str, str]:
    """Writes the signed firmware, or the signature; returns the file, and the images with the key's print."""
    data = _read(file)
    if data.startswith(b"{") and not detached and file.parent.name == "staged":
        from opq_cloud.update.repository import sign_metadata

        return {"file": str(file), "role": sign_metadata(file, read_private(key))}
    if not data.startswith(FIRMWARE) or detached:
        place = out or file.with_name(file.name + ".sig")
        write_whole_file(place, [to_text(sign(read_private(key), data)).encode()])
        return {"file": str(place)}
    private = firmware_key(key)
    try:
        images = {slot: sign_image(image, private.sign) for slot, image in read_bundle(data).items()}
    except ImageError as error:
        raise SigningError(f"{file}: {error}. To sign the file as it is: --detached") from None
    whole = pack_bundle(images) if data.startswith(b"OPQW") else b"".join(images.values())
    write_whole_file(out or file, [whole])
    names = " and ".join(slot.name for slot in images)
    return {"file": str(out or file), "images": names, "signed_by": public_of(private).fingerprint}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SigningError(f"{path}: {error.strerror}") from None


def _verify(pubkey: Path, file: Path, sig: Path | None, as_json: bool) -> None:
    """Prints the verdict on each part; ends with code 1 where one is not good."""
    data = _read(file)
    if data.startswith(FIRMWARE) and sig is None:
        try:
            verdicts = _of_firmware(pubkey, data)
        except ImageError as error:
            raise SigningError(f"{file}: {error}") from None
    else:
        verdicts = {str(file): _beside(pubkey, file, data, sig)}
    good = all(verdict == VERDICT_WORDS[Verdict.GOOD] for verdict in verdicts.values())
    if as_json:
        click.echo(json.dumps({"good": good, "verdicts": verdicts}, indent=1))
    else:
        for what, verdict in verdicts.items():
            click.echo(f"{what}: {verdict}")
    sys.exit(0 if good else 1)


def _of_firmware(pubkey: Path, data: bytes) -> dict[str, str]:
    """Checks each image: its slot and version -> the verdict."""
    key = firmware_public_key(pubkey)
    verdicts = {}
    for slot, image in read_bundle(data).items():
        header = read_header(image)
        verdict = judge(image, slot=slot, hardware=header.hardware, floor_version=0, check=key.is_signed)
        version = version_text(header.version)
        label = "" if header.label == version else f" {header.label}".rstrip()
        verdicts[f"slot {slot.name}: {header.hardware} {version}{label}"] = VERDICT_WORDS[verdict]
    return verdicts


def _beside(pubkey: Path, file: Path, data: bytes, sig: Path | None) -> str:
    """Verifies the signature in a separate file."""
    beside = sig or file.with_name(file.name + ".sig")
    if sig is None and not beside.exists():
        raise SigningError(
            f"{file} is not a firmware file, and no signature of it is beside it ({beside.name})"
        )
    good = is_signed(read_public(pubkey), data, from_text(_read(beside)))
    return VERDICT_WORDS[Verdict.GOOD] if good else f"NOT signed by {pubkey}, or changed since"


COLUMNS = 64


def sign(key: PrivateKeyTypes, data: bytes) -> bytes:
    """Signs data; returns the signature's bytes.

    Raises:
        SigningError: a kind of key that does not sign.
    """
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), SHA256())  # the default of openssl dgst
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(SHA256()))
    if isinstance(key, dsa.DSAPrivateKey):
        return key.sign(data, SHA256())
    raise SigningError("this kind of key cannot sign here; want Ed25519, RSA, EC or DSA")


def is_signed(key: PublicKeyTypes, data: bytes, signature: bytes) -> bool:
    """Whether the signature is for this data, by the matching private key.

    Raises:
        SigningError: a kind of key that does not sign.
    """
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(SHA256()))
        elif isinstance(key, dsa.DSAPublicKey):
            key.verify(signature, data, SHA256())
        else:
            raise SigningError("this kind of key cannot sign here; want Ed25519, RSA, EC or DSA")
    except InvalidSignature:
        return False
    return True


def to_text(signature: bytes) -> str:
    """A signature as text, as `openssl base64` writes it."""
    return "\n".join(textwrap.wrap(base64.b64encode(signature).decode(), COLUMNS)) + "\n"


def from_text(data: bytes) -> bytes:
    """The signature in a .sig file; bytes that are not base64 are read as the signature itself."""
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        return data
