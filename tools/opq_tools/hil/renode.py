"""`opq-tools hil renode`: the Renode that hil/renode.lock names."""

import json
from pathlib import Path

import click

from opq_hil.backends.renode_archive import LOCK, fetch_renode, read_lock
from opq_proto.kit.shared_options import json_option


@click.command("renode", short_help="Show or fetch the Renode that hil/renode.lock names.")
@click.option("--fetch", is_flag=True, help="Download and unpack it; print its folder.")
@click.option(
    "--lock",
    "lock_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Another file of this form.",
)
@json_option
def command(fetch: bool, lock_file: Path | None, as_json: bool) -> None:
    """Show which Renode the workflow runs; with --fetch, the folder that it is in after a download."""
    lock = read_lock(lock_file or LOCK)
    if not fetch:
        if as_json:
            click.echo(json.dumps({"version": lock.version, "url": lock.url, "sha256": lock.sha256}))
            return
        click.echo(f"Renode {lock.version}, {lock.url}")
        click.echo(f"sha256 {lock.sha256}")
        return
    folder = fetch_renode(lock)
    click.echo(json.dumps({"version": lock.version, "folder": str(folder)}) if as_json else folder)
