"""`opq-tools plugin pack`: a folder -> a zip with a SHA-256 of every file, the same bytes each time."""

import tempfile
from pathlib import Path

import click

from opq_plugins.package.archive import pack
from opq_proto.kit.whole_file import write_whole_file
from opq_tools.rules.plugin.shipped import shipped_or_own, shipped_plugins, with_libraries
from opq_tools.shared.progress import shown_step


@click.command("pack", short_help="Pack a folder, or a shipped plug-in, into a zip.")
@click.argument("source", metavar="FOLDER | NAME", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--out", type=click.Path(path_type=Path), help="File to write. Default: <name>-<version>.zip here."
)
@click.option(
    "--sign",
    "key",
    type=click.Path(path_type=Path),
    help="Private Ed25519 key (PEM) to sign the package with.",
)
@click.option(
    "--libraries", is_flag=True, help="Also pack the libraries that it needs and this Python lacks."
)
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="With --libraries: folder with their wheels.  [default: from the package index]",
)
def command(source: Path, out: Path | None, key: Path | None, libraries: bool, wheels: Path | None) -> None:
    """Pack a plug-in into a zip: a FOLDER, or the NAME of one that comes with the toolkit.

    \b
    Examples:
      opq-tools plugin pack mysql-sink --out mysqlSink.zip --sign release.pem
      opq-tools plugin pack change --libraries
    """
    folder = shipped_or_own(source).resolve()
    if not folder.is_dir():
        raise click.UsageError(
            f"there is no folder {source}, and the toolkit has {', '.join(shipped_plugins())}"
        )
    if wheels is not None and not libraries:
        raise click.UsageError("--wheels is for --libraries")
    sign = None
    if key is not None:
        from opq_proto.keys.signing import firmware_key
        from opq_tools.firmware.release.sign import to_text

        private = firmware_key(key)

        def sign(manifest: bytes) -> bytes:
            return to_text(private.sign(manifest)).encode()

    with tempfile.TemporaryDirectory(prefix="opq-plugin-") as here:
        if libraries:
            with shown_step(f"reading {source} and the libraries that it needs"):
                folder = with_libraries(folder, Path(here), wheels)
        name, data = pack(folder, sign)
    target = out or Path(name)
    write_whole_file(target, [data])
    click.echo(target)
