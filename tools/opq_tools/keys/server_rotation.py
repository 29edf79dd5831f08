"""`opq-tools keys rotate --server`: the key pair by which Boxes, or services, identify their server.

A client has exactly one public key of the server, so replacing the pair cuts off every client without the new
key. The command reports how many these are before it changes anything.
"""

import json

import click

from opq_proto.errors import KeyFileError
from opq_proto.keys.backend_keys import FOLDER, BackendKeyFolder
from opq_proto.keys.key_files import KeyFolder, read_key_file
from opq_proto.keys.register import KeyRegister, key_fingerprint
from opq_tools.keys.place import KeyPlace

NAMED_BOXES = 10
AFTER_RESTART = {
    False: "it holds when the services that bind have been started again",
    True: "it holds when all services have been started again",
}


def rotate_server(place: KeyPlace, of_backend: bool, force: bool) -> None:
    """Replaces the server's pair, from the next start of the services that bind.

    After it, none can connect with the old public key. A Box has one server key, which its gateway
    reads at its start: refused while Boxes are admitted. For services it is refused while a name is admitted
    whose private file is on another machine.
    """
    keys = BackendKeyFolder(place.key_folder(FOLDER)) if of_backend else KeyFolder(place.key_folder("curve"))
    before = key_fingerprint(read_key_file(keys.server_public).public.decode())
    cut_off = [
        entry.box_id
        for entry in KeyRegister(keys).entries()[0]
        if entry.state != "revoked" and not (of_backend and keys.box_secret(entry.box_id).exists())
    ]
    if cut_off and not force:
        raise KeyFileError(_why_not(of_backend, cut_off))
    written = keys.create(server=True, box_ids=(), force=True)
    after = key_fingerprint(read_key_file(keys.server_public).public.decode())
    change = {"fingerprint": before}, {"fingerprint": after}
    whose = "services" if of_backend else "boxes"
    place.note([("replaced the server's key", f"server of {whose}", *change)])
    if place.as_json:
        document = {"files": list(map(str, written)), "fingerprint": after, "cut_off": cut_off}
        click.echo(json.dumps(document, indent=1))
        return
    click.echo("\n".join(map(str, written)))
    click.echo(f"fingerprint {after}; {AFTER_RESTART[of_backend]}")
    if cut_off:
        click.echo(f"bring {keys.server_public} to the machines of {_named(of_backend, cut_off)}")


def _why_not(of_backend: bool, cut_off: list[str]) -> str:
    where = "on its machine" if of_backend else "at its gateway and that was started again"
    return (
        f"{_named(of_backend, cut_off)} would be cut off, each until the new public_keys/opqserver.key is "
        f"{where}; nothing was changed (see --force)"
    )


def _named(of_backend: bool, cut_off: list[str]) -> str:
    one, several = ("name", "names") if of_backend else ("Box", "Boxes")
    names = ", ".join(cut_off[:NAMED_BOXES]) + (", ..." if len(cut_off) > NAMED_BOXES else "")
    return f"{len(cut_off)} {one if len(cut_off) == 1 else several} ({names})"
