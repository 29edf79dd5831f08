"""`opq-tools verify`: who signed this, and is it still what was signed?"""

import sys
from pathlib import Path

import click

from opq_proto.firmware_image import (
    VERDICT_WORDS,
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
def command(pubkey: Path, file: Path, sig: Path | None) -> None:
    """Check the signature of FILE by PUBKEY (PEM; a private key's file will do).

    Firmware is checked as a Box would: header, Ed25519 signature, SHA-256, vectors, for each slot. With SIG,
    and for any other file, it is the signature in SIG (default FILE.sig), as openssl or opq-sign.sh made it.
    Exit code 1: it is not good.

    Example: opq-tools verify release.pem.pub firmware.opqfw
    """
    data = _read(file)
    if data.startswith(FIRMWARE) and sig is None:
        good = _verify_firmware(pubkey, data)
    else:
        beside = sig or file.with_name(file.name + ".sig")
        good = is_signed(read_public(pubkey), data, from_text(_read(beside)))
        click.echo(f"{file}: {'good' if good else f'NOT signed by {pubkey}, or changed since'}")
    sys.exit(0 if good else 1)


def _verify_firmware(pubkey: Path, data: bytes) -> bool:
    key = firmware_public_key(pubkey)
    verdicts = []
    for slot, image in read_bundle(data).items():
        header = read_header(image)
        verdict = judge(image, slot=slot, hardware=header.hardware, floor_version=0, check=key.is_signed)
        verdicts.append(verdict)
        what = f"slot {slot.name}: {header.hardware} {version_text(header.version)} {header.label}".rstrip()
        click.echo(f"{what}: {VERDICT_WORDS[verdict]}")
    return all(verdict is Verdict.GOOD for verdict in verdicts)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SigningError(f"{path}: {error.strerror}") from None
