"""The TTLs in `laha_config`, the original's document, read while the services run
(docs/reference/opq-interop.md, D.7).

A service that writes reads it again every few seconds, so that a change needs no restart. An invalid value is
logged once and ignored; the TTL in force stays.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from opq_proto.errors import StoreError
from opq_proto.kit import log

FOR_EVER_S = 2**31 - 1
"""The longest TTL that the original's Int32 can hold; it means that trends are kept for ever."""
UNSET_CLOCK_S = 1_577_836_800
"""2020-01-01 UTC. Until its clock is set, a machine without a battery is before it: in 1970, 1980 or 2000.
Nothing of ours was measured before it."""
READ_EVERY_S = 5.0
BOX_SAMPLES_S = 900
"""The original's fifth TTL. Not used here, but the original's services end without it."""
PHENOMENA_TTL = "phenomena", 31_536_000
"""A TTL that a plug-in of the original reads, though its own first document lacks it. Not used here."""


@dataclass(frozen=True, slots=True)
class Ttls:
    """How long data is kept: seconds from storing to `expire_at` (docs/reference/opq-interop.md D.7)."""

    measurements: int = 86_400
    trends: int | None = None
    """None means for ever (minutes for 90 days, then hours)."""
    events: int = 2_592_000
    incidents: int = 31_536_000


def ttls_document(ttls: Ttls) -> dict[str, int]:
    """Returns `laha_config.ttls`: whole seconds that fit an Int32.

    Raises:
        StoreError: a TTL is not a whole number from 1 to 2147483647.
    """
    document = {"box_samples": BOX_SAMPLES_S, **dict([PHENOMENA_TTL])}
    for field in fields(Ttls):
        value = getattr(ttls, field.name)
        seconds = FOR_EVER_S if value is None and field.name == "trends" else value
        if not _is_ttl(seconds):
            raise StoreError(f"TTL {field.name} is {seconds!r}; want whole seconds from 1 to {FOR_EVER_S}")
        document[field.name] = int(seconds)
    return document


def ttls_from_document(found: object, before: Ttls) -> tuple[Ttls, list[str]]:
    """Returns the document's TTLs, those of `before` where it has none, and a text for each wrong value."""
    wrong = []
    values: dict[str, int | None] = {}
    document = found if isinstance(found, Mapping) else {}
    for field in fields(Ttls):
        value = document.get(field.name)
        if value is None or not _is_ttl(value):
            values[field.name] = getattr(before, field.name)
            if value is not None:
                wrong.append(f"{field.name} is {value!r}")
        else:
            values[field.name] = int(value)
    if (values["trends"] or 0) >= FOR_EVER_S:
        values["trends"] = None
    return Ttls(**values), wrong  # type: ignore[arg-type]  # `trends` alone may be None


def _is_ttl(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 1 <= value <= FOR_EVER_S and int(value) == value


class LiveTtls:
    """The TTLs in force; `read` returns the stored document or None, and may be called from any thread."""

    def __init__(
        self, read: Callable[[], object], first: Ttls, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._ttls = first
        self._monotonic_s = monotonic_s
        self._next_s = 0.0
        self._wrong: list[str] = []

    def now(self) -> Ttls:
        """Returns the TTLs; reads the document every READ_EVERY_S. If that fails, it keeps the old ones."""
        if self._monotonic_s() >= self._next_s:
            self._next_s = self._monotonic_s() + READ_EVERY_S
            try:
                self.reread()
            except StoreError as error:
                log.get().warning("laha_config.unreadable", why=str(error))
        return self._ttls

    def reread(self) -> Ttls:
        """Reads the document now and returns the TTLs. Raises StoreError where the store cannot be read."""
        self._ttls, wrong = ttls_from_document(self._read(), self._ttls)
        if wrong and wrong != self._wrong:
            log.get().warning("laha_config.wrong", found="; ".join(wrong), allowed=f"1 to {FOR_EVER_S} s")
        self._wrong = wrong
        return self._ttls
