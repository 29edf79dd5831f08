"""`opq-tools keygen`: makes CURVE key pairs for the server and for Boxes, in ZPL files."""

import os
from importlib.util import find_spec
from pathlib import Path

import click

from opq_proto.keys.administrator import check_absent, create_administrator
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.system_place import default_data_dir

MAX_BOX_ID = 2**31 - 1
"""`Command.box_id` is an int32 (docs/reference/opq-interop.md B.1)."""
MAX_BOXES = 100_000
DIGITS_READ = 99
"""Of longer numbers only the beginning is read: Python refuses to convert thousands of digits."""
FIRST_BOXES = ("1",)
"""Boxes of a first system, whose gateway's configuration has Box 1."""
NEXT = """\
Cloud and gateway on this machine read them: opq-cloud all, opq-gateway run.
A gateway elsewhere gets copies of opqserver.key, opqadministrator.pub and its Boxes' private keys.
The pair of a further Box: opq-tools keygen --boxes 2"""
WITHOUT_ADMINISTRATOR = """\
No administrator's pair, which proves moves and firmware updates of Boxes: it needs cryptography. To have it:
pip install 'opq-toolkit[signing]', then opq-tools keygen --administrator"""


def box_ids(text: str) -> tuple[str, ...]:
    """Box ids of a list such as `1,2,5-9`, in order, each once.

    Raises:
        click.BadParameter: an entry is neither an id nor a range.
    """
    found: dict[str, None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        if not all(each.isascii() and each.isdigit() for each in ((first, last) if dash else (first,))):
            raise click.BadParameter(f"{part!r} is not a Box id or range; want e.g. 1,2,5-9")
        low, high = int(first[:DIGITS_READ]), int((last or first)[:DIGITS_READ])
        if not 1 <= low <= high <= MAX_BOX_ID or high - low >= MAX_BOXES:
            raise click.BadParameter(f"{part!r}: want rising ids from 1 to {MAX_BOX_ID}, {MAX_BOXES} at most")
        found.update(dict.fromkeys(map(str, range(low, high + 1))))
    return tuple(found)


@click.command("keygen")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the keys.  [default: curve of the data folder]"
)
@click.option(
    "--server", is_flag=True, help="Make the server's pair; the ports 9880, 8194 and 8196 use the same one."
)
@click.option(
    "--boxes", default="", metavar="IDS", help="Numbers of the Boxes to make pairs for, e.g. 1,2,5-9."
)
@click.option(
    "--administrator",
    is_flag=True,
    help="Make the administrator's pair, which proves moves and firmware updates of Boxes to their gateways.",
)
@click.option(
    "--force", is_flag=True, help="Overwrite existing keys; peers with the old ones lose their connection."
)
def command(out: Path | None, server: bool, boxes: str, administrator: bool, force: bool) -> None:
    """Make CURVE key pairs in ZPL files, and the administrator's; only you can read the private ones.

    Without --force nothing is overwritten: where keys exist, they are listed and nothing is changed. What
    root makes belongs to the owner of the folder, so that the services of its user read it. Where no pair is
    named, those of a first system are made: the server's, the administrator's and Box 1's.

    Example: opq-tools keygen --out ~/.local/share/opq/curve --server --administrator --boxes 1,2,5-9
    """
    ids = box_ids(boxes)
    first = not (server or administrator or ids)
    if first:
        server, administrator, ids = True, find_spec("cryptography") is not None, FIRST_BOXES
    out = out or default_data_dir() / "curve"
    keys = KeyFolder(out)
    if administrator and not force:
        check_absent(keys)
    written = keys.create(server=server, box_ids=ids, force=force)
    if administrator:
        written += create_administrator(keys)
    if os.geteuid() == 0:
        owner = out.stat()
        for path in {*written, *(each.parent for each in written)}:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    for path in written:
        click.echo(path)
    if first:
        click.echo(NEXT if administrator else f"{WITHOUT_ADMINISTRATOR}\n{NEXT}", err=True)
