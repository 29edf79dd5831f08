"""For atheris: bytes as a plug-in's zip. Run by test_rules_plugins_package.py where atheris is."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports():
    from opq_proto.errors import PluginError
    from opq_rules.plugins.package import read_package
    from opq_rules.plugins.policy import Policy

HERE = Path(tempfile.mkdtemp()) / "x.zip"


def one(raw: bytes) -> None:
    HERE.write_bytes(raw)
    try:
        read_package(HERE, None, Policy(max_unpacked_bytes=1 << 20))
    except PluginError:
        return


atheris.Setup(sys.argv, one)
atheris.Fuzz()
