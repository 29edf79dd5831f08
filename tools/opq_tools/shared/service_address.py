"""Address of a running service of this machine, with the keys that the shell's environment names, and the
administrator's key.

A separate file, because several commands use it: box, inject, mauka, plugin install.
"""

import os
from pathlib import Path
from urllib.parse import quote

from opq_proto.keys.backend_keys import backend_address
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.service_sockets import local_endpoint
from opq_proto.kit.system_place import find_system

KEYS_VARIABLE = "OPQ_BACKEND_KEYS"
"""Folder of `opq-tools keys add --backend`, where keys are required; `FOLDER&name=NAME` for another name."""


def service_address(name: str, port_offset: int | None, data_dir: Path | None = None) -> str:
    """The address of a service called `name` in SOCKETS: its socket in the data folder, else its port.

    Without a folder and an offset it is that of the only system.

    Raises:
        ConfigError: the variable names no folder of keys.
    """
    plain = local_endpoint(name, *find_system(data_dir, port_offset))
    folder, mark, more = os.environ.get(KEYS_VARIABLE, "").partition("&")
    if not folder:
        return plain
    return str(backend_address(f"{plain}?curve={quote(str(Path(folder).absolute()))}{mark}{more}"))


def administrator_file(port_offset: int | None, data_dir: Path | None = None) -> Path:
    """The administrator's private file of the system in `data_dir`, or of the one with this offset; it may be
    missing."""
    return KeyFolder(find_system(data_dir, port_offset)[0] / "curve").administrator_secret
