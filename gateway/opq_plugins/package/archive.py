"""A plug-in's zip: packed here, and checked as a whole before a byte of it is written.

Refused: absolute names, `..`, links, doubled names, too many or too large files, a wrong sum, and files that
the manifest does not list (if it has a list). Nothing in a zip is run when it is installed.

A folder is packed to the same bytes each time, with the SHA-256 of each file in the manifest.
`plugin.json.sig` is an Ed25519 signature over the manifest's bytes, raw (64 bytes) or as base64, as
`opq-tools release sign` writes it. It covers the files by their sums, so without them it does not count.
"""

import base64
import binascii
import hashlib
import io
import json
import lzma
import os
import re
import stat
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from opq_plugins.package.manifest import MANIFEST, PORTABLE, PackageManifest, parse_manifest
from opq_plugins.policy import Policy
from opq_proto.errors import PluginError

PART = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]{1,120}")
MAX_MANIFEST_BYTES = 1 << 20
UNPACK_S = 60.0
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    MemoryError,  # the zip states how much memory LZMA needs
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)
"""What zipfile raises for broken zips."""


@dataclass(frozen=True, slots=True)
class PluginPackage:
    """The content of a checked zip. `files`: name -> bytes, with the manifest and its signature."""

    manifest: PackageManifest
    raw_manifest: bytes
    signature: bytes | None
    files: Mapping[str, bytes]
    sha256: str
    """The SHA-256 of the zip itself."""


def read_package(path: Path, name: str | None, policy: Policy) -> PluginPackage:
    """Reads and checks a zip. `name`: the required name of the plug-in, or None. Raises PluginError."""
    size = path.stat().st_size
    if size > policy.max_zip_bytes:
        raise PluginError(f"the zip has {size} bytes; the limit is {policy.max_zip_bytes}")
    zipped = path.read_bytes()
    files = zip_contents(zipped, policy, "not a readable zip")
    if MANIFEST not in files:
        raise PluginError(_why_no_manifest(files))
    raw = files[MANIFEST]
    if len(raw) > MAX_MANIFEST_BYTES:
        raise PluginError(f"{MANIFEST} has {len(raw)} bytes; the limit is {MAX_MANIFEST_BYTES}")
    manifest = parse_manifest(raw)
    if name is not None and manifest.name != name:
        raise PluginError(f"the zip is of plug-in {manifest.name!r}, not {name!r}")
    signature = files.get(f"{MANIFEST}.sig")
    _check_sums(manifest, files, policy)
    return PluginPackage(manifest, raw, signature, files, hashlib.sha256(zipped).hexdigest())


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Writes `files` below the new `folder`, readable by every user, because the worker runs as another
    user."""
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    for name, data in files.items():
        target = folder.joinpath(*name.split("/"))
        for parent in reversed([p for p in target.parents if folder in p.parents]):
            parent.mkdir(exist_ok=True)
            parent.chmod(0o755)
        with target.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # the switch in SQLite is durable, so these files must be too
        target.chmod(0o755 if name.endswith(".so") else 0o644)


def zip_contents(zipped: bytes, policy: Policy, unreadable: str) -> dict[str, bytes]:
    """Name -> bytes of every file. PluginError: more than is allowed, or `unreadable` with the reason."""
    at, found = -1, 0  # 64 MiB hold a million entries, and zipfile makes 400 bytes of each before it counts
    # counts marks, because the declared number may be wrong
    while (at := zipped.find(b"PK\x01\x02", at + 1)) >= 0:
        found += 1
        if found > 2 * policy.max_files:  # a zip in a zip has marks too
            raise PluginError(f"the zip has more than {policy.max_files} entries")
    try:
        with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
            return _contents(archive, policy)
    except UNREADABLE as error:
        raise PluginError(f"{unreadable}: {error}") from None


def _contents(archive: zipfile.ZipFile, policy: Policy) -> dict[str, bytes]:
    entries = archive.infolist()
    if len(entries) > policy.max_files:
        raise PluginError(f"the zip has {len(entries)} entries; the limit is {policy.max_files}")
    declared = sum(entry.file_size for entry in entries)
    if declared > policy.max_unpacked_bytes:
        raise PluginError(f"unpacked it has {declared} bytes; the limit is {policy.max_unpacked_bytes}")
    seen: set[str] = set()
    for entry in entries:
        _check_name(entry)
        folded = unicodedata.normalize("NFKC", entry.filename.rstrip("/")).casefold()
        if folded in seen:
            raise PluginError(f"{entry.filename!r} is in the zip twice")
        seen.add(folded)
    end = time.monotonic() + UNPACK_S
    files: dict[str, bytes] = {}
    left = policy.max_unpacked_bytes
    for entry in entries:
        if entry.is_dir():
            continue
        with archive.open(entry) as file:
            data = file.read(left + 1)  # the declared size may be wrong
        left -= len(data)
        if left < 0:
            raise PluginError(f"unpacked it has more than {policy.max_unpacked_bytes} bytes")
        if time.monotonic() > end:
            raise PluginError(f"unpacking takes longer than {UNPACK_S:g} s")
        files[entry.filename] = data
    for name in files:
        parents = name.split("/")[:-1]
        while parents:
            if "/".join(parents) in files:
                raise PluginError(f"{'/'.join(parents)!r} is both a file and a folder")
            parents.pop()
    return files


def _check_name(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if entry.flag_bits & 1:
        raise PluginError(f"{name!r} is encrypted")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise PluginError(f"{name!r} is a link or a device; want plain files")
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or len(parts) > 16 or len(name) > 1_000:
        raise PluginError(f"{name[:80]!r} leaves the plug-in's folder, or is too deep")
    for part in parts:
        if part in (".", "..") or not PART.fullmatch(part):
            raise PluginError(f"{name[:80]!r} is not a name of a file inside the plug-in's folder")
    if entry.orig_filename.split("\x00")[0] != entry.orig_filename:
        raise PluginError(f"{name[:80]!r} has a zero byte in its name")


def _why_no_manifest(files: Mapping[str, bytes]) -> str:
    roots = [each for each in files if "/" not in each]
    if any(each.endswith(".so") for each in roots):
        return "a plug-in of eKuiper built by Go; write it in Python (opq-tools plugin new sink)"
    if any(each.endswith(".json") and b'"executable"' in files[each] for each in roots):
        return f"it {PORTABLE}"
    deeper = next((each for each in files if each.endswith("/" + MANIFEST)), None)
    hint = f"; it is at {deeper!r}, zip the content and not the folder" if deeper else ""
    return f"no {MANIFEST} at the root of the zip{hint}"


def _check_sums(manifest: PackageManifest, files: Mapping[str, bytes], policy: Policy) -> None:
    if not manifest.sha256:
        if policy.require_sha256 or policy.require_signature:
            raise PluginError("the manifest lacks the sha256 of the files; opq-tools plugin pack writes them")
        return
    content = {name: data for name, data in files.items() if name not in (MANIFEST, f"{MANIFEST}.sig")}
    unlisted = sorted(content.keys() - manifest.sha256.keys())
    missing = sorted(manifest.sha256.keys() - content.keys())
    if unlisted or missing:
        wrong = [f"{name} is not in the manifest" for name in unlisted[:3]]
        wrong += [f"{name} is not in the zip" for name in missing[:3]]
        raise PluginError(f"sha256: {'; '.join(wrong)}")
    for name, data in content.items():
        if hashlib.sha256(data).hexdigest() != manifest.sha256[name]:
            raise PluginError(f"sha256: {name} differs from the manifest")


LEFT_OUT = {"tests", "__pycache__", "Dockerfile", "node_modules", "venv"}
"""Not packed, at the root or below; neither are hidden files, *.pyc, *.zip and *.sig."""
PRIVATE_KEY = b"PRIVATE KEY" + b"-----"
"""A part of every PEM file with a private key."""
NO_DATE = (1980, 1, 1, 0, 0, 0)
RAW_BYTES = 64
"""The length of a signature."""


def pack(folder: Path, sign: Callable[[bytes], bytes] | None = None) -> tuple[str, bytes]:
    """Packs a folder; returns (name-version.zip, its bytes).

    `sign`: makes the content of `plugin.json.sig` from the manifest's bytes. Raises PluginError: a missing or
    wrong manifest, or a private key among the files.
    """
    own = folder / MANIFEST
    if not own.is_file():
        raise PluginError(f"{folder}: no {MANIFEST}; `opq-tools plugin new` writes one")
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != own and _belongs(path.relative_to(folder))
    }
    if any((folder / name).is_symlink() for name in files):
        raise PluginError(f"{folder}: links are not packed; copy the file")
    secret = next((name for name, data in files.items() if PRIVATE_KEY in data), None)
    if secret is not None:
        raise PluginError(
            f"{secret} contains a private key, which others would get with the zip; move it out of {folder}"
        )
    manifest = parse_manifest(own.read_bytes())
    facts = json.loads(own.read_bytes())
    facts["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    raw = json.dumps(facts, indent=1, ensure_ascii=False).encode() + b"\n"
    content = {MANIFEST: raw}
    if sign is not None:
        content[f"{MANIFEST}.sig"] = sign(raw)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**content, **files}.items():
            entry = zipfile.ZipInfo(name, NO_DATE)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return f"{manifest.name}-{manifest.version}.zip", buffer.getvalue()


class NotAllowedError(PluginError):
    """The policy does not allow the plug-in to run."""


def allowed_signer(manifest: bytes, signature: bytes | None, policy: Policy) -> str | None:
    """The `signer` by the policy's keys. Raises NotAllowedError if a required signature is missing."""
    signed_by = signer(manifest, signature, policy.keys)
    if signed_by is None and policy.require_signature:
        why = "has no signature" if signature is None else "is not signed by an allowed key"
        if signature is not None and not parse_manifest(manifest).sha256:
            why = "lacks a signature of its files (the manifest has no sha256 of them)"
        raise NotAllowedError(f"the plug-in {why}, which the policy requires")
    return signed_by


def signer(manifest: bytes, signature: bytes | None, keys: Sequence[Path]) -> str | None:
    """The fingerprint of the key that signed; None: not signed, without sums, or not by one of `keys`."""
    if signature is None or not keys or not parse_manifest(manifest).sha256:
        return None
    from opq_proto.keys.signing import SigningError, firmware_public_key  # extra "rules" brings cryptography

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
    """The signature in the file beside the manifest, or None where it contains none."""
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
