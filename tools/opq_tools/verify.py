"""`opq-tools verify`: who signed this, and is it still what was signed?"""

import json
import sys
from pathlib import Path

import click

from opq_proto.firmware_image import (
    VERDICT_WORDS,
    ImageError,
    Verdict,
    judge,
    read_bundle,
    read_header,
    version_text,
)
from opq_proto.signing import SigningError, firmware_public_key, read_public
from opq_tools.detached import from_text, is_signed
from opq_tools.sign import FIRMWARE


@click.command("verify")
@click.argument("pubkey", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("sig", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(pubkey: Path, file: Path, sig: Path | None, as_json: bool) -> None:
    """Check the signature of FILE by PUBKEY (PEM; a private key's file will do).

    Firmware is checked as a Box would: header, Ed25519 signature, SHA-256, vectors, for each slot. With SIG,
    and for any other file, it is the signature in SIG (default FILE.sig), as openssl or opq-sign.sh made it.
    Exit code 1: it is not good.

    Example: opq-tools verify release.pem.pub firmware.opqfw
    """
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
    """Each image, by its slot."""
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
    """By the signature in a file of its own."""
    beside = sig or file.with_name(file.name + ".sig")
    if sig is None and not beside.exists():
        raise SigningError(f"{file} is no firmware file, and no signature of it is beside it ({beside.name})")
    good = is_signed(read_public(pubkey), data, from_text(_read(beside)))
    return VERDICT_WORDS[Verdict.GOOD] if good else f"NOT signed by {pubkey}, or changed since"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SigningError(f"{path}: {error.strerror}") from None
