"""`opq-tools plugin pack`: a folder -> a zip with a SHA-256 of every file, the same bytes each time."""

from pathlib import Path

import click

from opq_plugins.package.archive import pack
from opq_proto.kit.whole_file import write_whole_file


@click.command("pack")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--out", type=click.Path(path_type=Path), help="File to write. Default: <name>-<version>.zip here."
)
@click.option(
    "--sign",
    "key",
    type=click.Path(path_type=Path),
    help="Private Ed25519 key (PEM) to sign the package with.",
)
def command(folder: Path, out: Path | None, key: Path | None) -> None:
    """Pack the plug-in in FOLDER into a zip.

    \b
    Example:
      opq-tools plugin pack mysql-sink --out mysqlSink.zip --sign release.pem
    """
    sign = None
    if key is not None:
        from opq_proto.keys.signing import firmware_key
        from opq_tools.firmware.release.sign import to_text

        private = firmware_key(key)

        def sign(manifest: bytes) -> bytes:
            return to_text(private.sign(manifest)).encode()

    name, data = pack(folder.resolve(), sign)
    target = out or Path(name)
    write_whole_file(target, [data])
    click.echo(target)
