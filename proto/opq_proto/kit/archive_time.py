"""When a back-up was made, by the archive itself: the time of its file is that of the last copy.

`opq-tools backup` writes the time at the archive's begin, so that health finds it without reading gigabytes.
"""

import tarfile
from datetime import datetime
from pathlib import Path

MADE_AT = "OPQ.made_at"
"""In the archive's global header (PAX, comment of any program): UTC, ISO 8601."""
MANIFEST = "opq-backup.json"
"""The archive's last member, which has `made_at`, too."""
SUFFIXES = (".tar", ".tar.gz", ".tgz")
MAX_MANIFEST_BYTES = 64 << 20


def is_compressed(path: Path) -> bool:
    """Whether an archive of this name is compressed by gzip."""
    return path.name.endswith(SUFFIXES[1:])


def archive_made_s(path: Path) -> float:
    """Returns when an archive was made, in s since the epoch.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a whole archive of `opq-tools backup`.
    """
    try:
        with tarfile.open(path) as tar:
            made_at = tar.pax_headers[MADE_AT]
        return datetime.fromisoformat(made_at).timestamp()
    except (tarfile.TarError, EOFError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is not a whole archive of `opq-tools backup`: {error}") from error
