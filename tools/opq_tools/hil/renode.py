"""`opq-tools hil run --renode`: the Renode that hil/renode.lock names. (Not in hil.py, which is full.)"""

import json
from pathlib import Path

import click

from opq_hil.backends.renode_archive import LOCK, fetch_renode, read_lock


def show_renode(lock_file: Path | None, fetch: bool, as_json: bool) -> None:
    """Prints which Renode the workflow runs; with `fetch`, the folder that it is in after a download."""
    lock = read_lock(lock_file or LOCK)
    if not fetch:
        if as_json:
            click.echo(json.dumps({"version": lock.version, "url": lock.url, "sha256": lock.sha256 or None}))
            return
        click.echo(f"Renode {lock.version}, {lock.url}")
        click.echo(f"sha256 {lock.sha256 or 'not known yet: opq-tools hil run --renode --fetch'}")
        return

    def accept(sha256: str, size: int) -> bool:
        click.echo(f"{lock.url}\n{size:,} bytes, sha256 {sha256}", err=True)
        return click.confirm(f"Compare it with the release's page. Write it into {lock.path}?", err=True)

    folder = fetch_renode(lock, accept=accept)
    if folder is None:
        raise click.ClickException(f"{lock.path} has no checksum, so nothing was unpacked")
    click.echo(json.dumps({"version": lock.version, "folder": str(folder)}) if as_json else folder)
