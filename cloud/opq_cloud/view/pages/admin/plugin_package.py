"""Pure: what an uploaded package states about itself. The engine unpacks and checks it."""

import json
import zipfile
from dataclasses import dataclass
from io import BytesIO

from opq_plugins.package.manifest import MANIFEST, NAME, PACKAGE, REST_KINDS

MANIFEST_BYTES = 65_536
MAX_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """Name, kind and version from the manifest."""

    name: str
    kind: str
    version: str


def read_package(content: bytes) -> PackageFacts:
    """Reads `plugin.json`. Raises ValueError with a sentence where it is not a package."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as packed:
            names = packed.namelist()
            if len(names) > MAX_ENTRIES:
                raise ValueError(f"The package has more than {MAX_ENTRIES} files.")
            if MANIFEST not in names:
                raise ValueError("There is no plugin.json in it; `opq-tools plugin pack` makes a package.")
            with packed.open(MANIFEST) as opened:
                text = opened.read(MANIFEST_BYTES + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ValueError("This is not a zip file; `opq-tools plugin pack` makes a package.") from error
    if len(text) > MANIFEST_BYTES:
        raise ValueError(f"{MANIFEST} has more than {MANIFEST_BYTES} bytes.")
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict):
        raise ValueError(f"{MANIFEST} is not a JSON object.")
    name, kind = str(manifest.get("name") or ""), str(manifest.get("kind") or PACKAGE)
    if not NAME.fullmatch(name) or kind not in REST_KINDS:
        raise ValueError(
            f"{MANIFEST} wants a name of letters and digits, and a kind of {', '.join(REST_KINDS)}."
        )
    return PackageFacts(name, kind, str(manifest.get("version", ""))[:80])
