"""Reads documents of other programs or people; one that cannot be read is left out, counted and logged.

The database may be shared with the original's services and scripts, whose documents are not checked. A
malformed document must not prevent reading the others of its collection.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from opq_cloud.store.documents import Document
from opq_proto.kit import log as logs
from opq_proto.kit.rate_limit import RateLimitedLog

T = TypeVar("T")

READ_ERRORS = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""The errors of reading a field that is missing, or of another type or range."""


class ReadableDocuments:
    """Makes records of documents; from any thread.

    Attributes:
        unreadable: number of readings that failed, by collection, since the store was opened.
    """

    def __init__(self) -> None:
        self.unreadable: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._limited = RateLimitedLog(logs.get(service="store"))

    def read_all(
        self, collection: str, read: Callable[[Document], T], found: Iterable[Document]
    ) -> Iterator[T]:
        """Yields a record of each document that can be read."""
        for document in found:
            try:
                record = read(document)
            except READ_ERRORS as error:
                self.note(collection, document, error)
            else:
                yield record

    def note(self, collection: str, document: Document, error: Exception) -> None:
        """Counts a document that cannot be read; logs it once per period and collection."""
        why = f"{type(error).__name__}: {error}"[:200]
        with self._lock:
            self.unreadable[collection] += 1
            self._limited.warning(
                "document.unreadable",
                key=collection,
                collection=collection,
                document=str(document.get("_id"))[:100],
                why=why,
            )
