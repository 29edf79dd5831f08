"""A bundle for a helper: the doctor's findings, logs and configurations, without keys and passwords."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

MAX_LOG = 1 << 20
"""Of each log its end."""
SECRET = re.compile(
    r'(?im)^(\s*"?[\w.-]*(?:password|secret|token|uri|key|credential|user)[\w.-]*"?\s*[=:]\s*).*$'
)
IN_ADDRESS = re.compile(r"(://)[^/\s@\"']+@")
IN_LINK = re.compile(r"([?&](?:code|token)=)[^&\s\"]+")


def without_secrets(text: str) -> str:
    """A configuration or log without the values of keys that may be secret, and without names in addresses.

    >>> without_secrets('password = "x"\\nurl = "mongodb://a:b@host/opq"')
    'password = ******\\nurl = "mongodb://******@host/opq"'
    """
    text = IN_ADDRESS.sub(r"\1******@", SECRET.sub(r"\1******", text))
    return IN_LINK.sub(r"\1******", text)


def write_bundle(path: Path, data_dir: Path, found: object, etc: Path = Path("/etc/opq")) -> None:
    """Writes a .tar.gz. Raises OSError."""
    with tarfile.open(path, "w:gz") as tar:
        for name, text in (("doctor.json", json.dumps(found, indent=1)), *_texts(data_dir, etc)):
            content = text.encode()
            member = tarfile.TarInfo(f"opq-doctor/{name}")
            member.size, member.mode = len(content), 0o600
            tar.addfile(member, io.BytesIO(content))
    path.chmod(0o600)


def _texts(data_dir: Path, etc: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((data_dir / "log").glob("*")):
        if path.is_file():
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - MAX_LOG))
                yield f"log/{path.name}", without_secrets(file.read().decode(errors="replace"))
    for folder, where in ((data_dir / "config", "config"), (etc, "etc")):
        for path in sorted(folder.glob("*.toml")):
            yield f"{where}/{path.name}", without_secrets(path.read_text(errors="replace"))
