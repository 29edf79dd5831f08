"""Build the API pages of all our packages; a module that does not import or has no docstring fails the build.

Usage: python tools/apidoc.py [[--without-source] OUTPUT_FOLDER]

Without a folder the modules are only checked, in seconds; the pages take a minute. Half of the time goes into
colouring the source of each module; `--without-source` leaves it out of the pages.
"""

import argparse
import importlib
import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

PACKAGES = (
    "opq_proto",
    "opq_measure",
    "opq_recordings",
    "opq_analyze",
    "opq_plugins",
    "opq_rules",
    "opq_gateway",
    "opq_cloud",
    "opq_sim",
    "opq_hil",
    "opq_tools",
)
QUIET_WARNINGS = (
    "The module specification",  # every module is named here: a package with __all__ hides its others
    "Error parsing type annotation",  # pydantic writes those of its __init__ as text out of scope
    "Failed to run TYPE_CHECKING code",
    "Error parsing type stubs for opq_proto",  # protobuf's own generated stubs are for type checkers only
)
"""Known warnings of pdoc that do not concern our pages."""


def modules(package: str) -> list[str]:
    """Every module below a package, without the entry points that run on import."""
    root = importlib.import_module(package)
    found = [package]
    for info in pkgutil.walk_packages(root.__path__, package + "."):
        if not info.name.endswith(("__main__", "_pb2", ".ended_with_parent")):
            found.append(info.name)
    return found


def main(output: Path | None, source: bool) -> int:
    wanted = [name for package in PACKAGES for name in modules(package)]
    for name in wanted:
        importlib.import_module(name)
    undocumented = [name for name in wanted if not importlib.import_module(name).__doc__]
    if output is not None:
        pdoc.render.configure(docformat="google", show_source=source)
        for known in QUIET_WARNINGS:
            warnings.filterwarnings("ignore", message=known, module="pdoc")
        pdoc.pdoc(*wanted, output_directory=output)
    print(f"{len(wanted)} modules {'can be documented' if output is None else f'documented in {output}'}")
    for name in undocumented:
        print(f"{name}: has no docstring that says what it is for", file=sys.stderr)
    return 1 if undocumented else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the API pages.")
    parser.add_argument("--without-source", action="store_true")
    parser.add_argument("output", type=Path, nargs="?")
    options = parser.parse_args()
    sys.exit(main(options.output, source=not options.without_source))
