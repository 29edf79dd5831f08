"""`opq-tools sign`: an Ed25519 signature into a firmware file, or any key's beside any file."""

from pathlib import Path

import click

from opq_proto.firmware_image import ImageError, pack_bundle, read_bundle, sign_image
from opq_proto.signing import SigningError, firmware_key, new_key, public_of, read_private
from opq_tools.detached import sign, to_text

FIRMWARE = (b"OPQF", b"OPQW")
"""How an image and a .opqfw file begin."""


@click.command("sign")
@click.argument("key", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Default: the firmware itself, or FILE.sig.")
@click.option("--detached", is_flag=True, help="FILE.sig for firmware, too.")
@click.option("--new-key", "make_key", is_flag=True, help="Make an Ed25519 pair: KEY, and KEY.pub beside it.")
def command(key: Path, file: Path | None, out: Path | None, detached: bool, make_key: bool) -> None:
    """Sign FILE with the private KEY (PEM).

    Firmware (.opqfw or one image) takes an Ed25519 signature into its header. Any other file gets FILE.sig
    in the form of the original's opq-sign.sh, by an Ed25519, RSA, EC or DSA key; opq-verify.sh reads it.

    Example: opq-tools sign --new-key release.pem; opq-tools sign release.pem firmware.opqfw
    """
    if make_key:
        click.echo(f"{key}\n{new_key(key)}")
    if file is None:
        if not make_key:
            raise click.UsageError("FILE is missing: what is to be signed?")
        return
    data = _read(file)
    if data.startswith(FIRMWARE) and not detached:
        _sign_firmware(key, file, data, out or file)
    else:
        _write(out or file.with_name(file.name + ".sig"), to_text(sign(read_private(key), data)).encode())


def _sign_firmware(key: Path, file: Path, data: bytes, out: Path) -> None:
    private = firmware_key(key)
    try:
        images = {slot: sign_image(image, private.sign) for slot, image in read_bundle(data).items()}
    except ImageError as error:
        raise SigningError(f"{file}: {error}. To sign the file as it is: --detached") from None
    whole = pack_bundle(images) if data.startswith(b"OPQW") else b"".join(images.values())
    _write(out, whole)
    names = " and ".join(slot.name for slot in images)
    click.echo(f"images {names} signed by {public_of(private).fingerprint}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SigningError(f"{path}: {error.strerror}") from None


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: the old file stays until the new one is there."""
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        raise SigningError(f"{path}: {error.strerror}") from None
    click.echo(path)
