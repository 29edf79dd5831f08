"""Files inside the embedded store: chunks, and a sha256 that is held against them at reading."""

import hashlib
import json
import sqlite3
from typing import Any

from opq_proto.errors import StoreError

CHUNK_BYTES = 255 * 1024
"""As GridFS: small enough that no write lock is held long for one chunk."""


def put_file(connection: sqlite3.Connection, filename: str, data: bytes, metadata: dict[str, Any]) -> None:
    """Store a file under a name that is not in use."""
    digest = hashlib.sha256(data).hexdigest()
    file = connection.execute(
        "INSERT INTO files (filename, length, sha256, metadata) VALUES (?, ?, ?, ?)",
        (filename, len(data), digest, json.dumps(metadata)),
    ).lastrowid
    connection.executemany(
        "INSERT INTO chunks VALUES (?, ?, ?)",
        (
            (file, n, data[offset : offset + CHUNK_BYTES])
            for n, offset in enumerate(range(0, len(data), CHUNK_BYTES))
        ),
    )


def read_file(connection: sqlite3.Connection, filename: str) -> bytes:
    """A file's bytes.

    Raises:
        StoreError: there is none of this name, or its bytes are not those that were written.
    """
    row = connection.execute(
        "SELECT file, length, sha256 FROM files WHERE filename = ?", (filename,)
    ).fetchone()
    if row is None:
        raise StoreError(f"file {filename}: is not in the store")
    file, length, digest = row
    chunks = connection.execute("SELECT data FROM chunks WHERE file = ? ORDER BY n", (file,))
    data = b"".join(chunk for (chunk,) in chunks)
    if len(data) != length or hashlib.sha256(data).hexdigest() != digest:
        raise StoreError(
            f"file {filename}: is damaged ({len(data)} of {length} bytes, sha256 differs); "
            "restore it from a copy of the store"
        )
    return data


def delete_file(connection: sqlite3.Connection, filename: str) -> None:
    connection.execute(
        "DELETE FROM chunks WHERE file = (SELECT file FROM files WHERE filename = ?)", (filename,)
    )
    connection.execute("DELETE FROM files WHERE filename = ?", (filename,))
