"""A folder becomes a plug-in's zip: the same bytes each time, with the SHA-256 of each file in the manifest.

`plugin.json.sig` is an Ed25519 signature over the manifest's bytes, raw (64 bytes) or as base64, which is
what `opq-tools sign` writes.
"""

import base64
import binascii
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from opq_plugins.package.manifest import parse_manifest
from opq_plugins.policy import Policy
from opq_proto.errors import PluginError

LEFT_OUT = {"tests", "__pycache__", "Dockerfile", "node_modules", "venv"}
"""At the root or below; hidden files, *.pyc, *.zip and *.sig as well."""
PRIVATE_KEY = b"PRIVATE KEY" + b"-----"
"""In each PEM of one."""
NO_DATE = (1980, 1, 1, 0, 0, 0)
RAW_BYTES = 64
"""The length of a signature."""


def pack(folder: Path, sign: Callable[[bytes], bytes] | None = None) -> tuple[str, bytes]:
    """(name-version.zip, its bytes). `sign`: gives what `plugin.json.sig` holds for the manifest's bytes.

    Raises PluginError: no manifest, or a wrong one; a private key among the files, which everyone would get.
    """
    own = folder / "plugin.json"
    found = [own] if own.is_file() else [path for path in (folder / f"{folder.name}.json",) if path.is_file()]
    if not found:
        raise PluginError(f"{folder}: no plugin.json; `opq-tools plugin new` writes one")
    manifest_path = found[0]
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != manifest_path and _belongs(path.relative_to(folder))
    }
    if any((folder / name).is_symlink() for name in files):
        raise PluginError(f"{folder}: links are not packed; copy the file")
    secret = next((name for name, data in files.items() if PRIVATE_KEY in data), None)
    if secret is not None:
        raise PluginError(
            f"{secret} holds a private key, and the zip goes to others; move it out of {folder}"
        )
    manifest = parse_manifest(manifest_path.read_bytes(), manifest_path.name)
    facts = json.loads(manifest_path.read_bytes())
    facts["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    raw = json.dumps(facts, indent=1, ensure_ascii=False).encode() + b"\n"
    content = {manifest_path.name: raw}
    if sign is not None:
        content[manifest_path.name + ".sig"] = sign(raw)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**content, **files}.items():
            entry = zipfile.ZipInfo(name, NO_DATE)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return f"{manifest.name}-{manifest.version}.zip", buffer.getvalue()


class NotAllowedError(PluginError):
    """The policy does not let it run."""


def allowed_signer(manifest: bytes, signature: bytes | None, policy: Policy) -> str | None:
    """As `signer`, by the policy's keys. NotAllowedError: the policy wants one, and there is none."""
    signed_by = signer(manifest, signature, policy.keys)
    if signed_by is None and policy.require_signature:
        why = "has no signature" if signature is None else "is signed by none of the allowed keys"
        raise NotAllowedError(f"the plug-in {why}, and the policy wants one")
    return signed_by


def signer(manifest: bytes, signature: bytes | None, keys: Sequence[Path]) -> str | None:
    """The fingerprint of the key that signed; None: not signed, or by nobody that is known."""
    if signature is None or not keys:
        return None
    from opq_proto.signing import SigningError, firmware_public_key  # extra "rules" brings cryptography

    raw = signature_bytes(signature)
    if raw is None:
        return None
    for path in keys:
        try:
            key = firmware_public_key(path)
        except SigningError as error:
            raise PluginError(f"key for plug-ins: {error}") from None
        if key.is_signed(raw, manifest):
            return key.fingerprint
    return None


def signature_bytes(file: bytes) -> bytes | None:
    """The signature in the file beside the manifest, or None: it holds none."""
    if len(file) == RAW_BYTES:
        return file
    try:
        raw = base64.b64decode(b"".join(file.split()), validate=True)
    except binascii.Error:
        return None
    return raw if len(raw) == RAW_BYTES else None


def _belongs(path: Path) -> bool:
    return not (
        any(part in LEFT_OUT or part.startswith(".") for part in path.parts)
        or path.suffix in (".pyc", ".zip", ".sig")
    )
