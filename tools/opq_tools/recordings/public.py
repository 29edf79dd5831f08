"""The list of public recordings: where each file is, its checksum, and what a reader finds in it.

`public.toml` is our list; another one has the same form. The files themselves stay where they are
published, for most of them have their own licence, or none.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from opq_proto.errors import OpqError

LIST = Path(__file__).with_name("public.toml")
LARGEST_FILE_BYTES = 4 << 20
"""Bytes of a file of the list; a server that sends more sends another file."""
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ListError(OpqError):
    """A list of recordings cannot be read; names the entry and the field."""


@dataclass(frozen=True, slots=True)
class PublicRecording:
    """One recording of a list: its files, the first of which is the one to open."""

    repository: str
    """`owner/name` on GitHub."""
    commit: str
    licence: str
    files: Mapping[str, str]
    """Path in the repository -> sha256."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """What is known of it: `what`, `given`, and what a reader finds."""

    @property
    def opened(self) -> PurePosixPath:
        """The file to open, below the folder that the recordings are fetched into."""
        return PurePosixPath(self.repository, next(iter(self.files)))


def read_list(path: Path = LIST) -> tuple[PublicRecording, ...]:
    """Reads a list.

    Raises:
        ListError: no TOML, or an entry without what is needed to fetch it.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("recording")
    except OSError as error:
        raise ListError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ListError(f"{path}: is not TOML: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise ListError(f"{path}: has no [[recording]]")
    return tuple(_recording(path, number, entry) for number, entry in enumerate(entries, 1))


def _recording(path: Path, number: int, entry: object) -> PublicRecording:
    where = f"{path}, recording {number}"
    if not isinstance(entry, dict):
        raise ListError(f"{where}: is not a table")
    facts = dict(entry)
    repository, commit = facts.pop("repository", None), facts.pop("commit", None)
    if not isinstance(repository, str) or not _REPOSITORY.fullmatch(repository):
        raise ListError(f"{where}: repository is {repository!r:.60}, want owner/name")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise ListError(f"{where}: commit is {commit!r:.60}, want 40 hexadecimal digits")
    files = facts.pop("files", None)
    if not isinstance(files, dict) or not files:
        raise ListError(f'{where}: has no files; want "path" = "sha256" below [recording.files]')
    for name, digest in files.items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name:
            raise ListError(f"{where}: {name!r:.80} is not a path within a repository")
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise ListError(f"{where}: sha256 of {name!r:.80} is {digest!r:.70}, want 64 hexadecimal digits")
    return PublicRecording(repository, commit, str(facts.pop("licence", "not stated")), files, facts)
