"""Address of a running service of this machine, with the keys that the shell's environment names.

A separate file, because several commands use it: box, inject, mauka, plugin install.
"""

import os
from pathlib import Path
from urllib.parse import quote

from opq_proto.keys.backend_keys import backend_address
from opq_proto.kit.ports import endpoint
from opq_proto.kit.system_place import find_system

KEYS_VARIABLE = "OPQ_BACKEND_KEYS"
"""Folder of `opq-tools keys add --backend`, where keys are required; `FOLDER&name=NAME` for another name."""


def service_address(name: str, port_offset: int | None, data_dir: Path | None = None) -> str:
    """The address of the port called `name`; without an offset it is that of the system in `data_dir`,
    or of the only one.

    Raises:
        ConfigError: the variable names no folder of keys.
    """
    plain = endpoint(name, find_system(data_dir, port_offset)[1])
    folder, mark, more = os.environ.get(KEYS_VARIABLE, "").partition("&")
    if not folder:
        return plain
    return str(backend_address(f"{plain}?curve={quote(str(Path(folder).absolute()))}{mark}{more}"))
