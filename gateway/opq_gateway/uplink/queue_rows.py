"""QueueRows: rows that another part of the gateway keeps until they can be numbered: those of the ledger."""

from dataclasses import dataclass
from typing import Protocol

from opq_proto.messages import Measurement


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """Rows that were written together, and what is known to be handed over with them."""

    rows: list[Measurement]
    places: dict[int, int]
    """File of the ledger -> place after these rows; -1: the file is gone."""


class QueueRows(Protocol):
    """The rows of one Box that are not numbered yet; in the uplink's thread."""

    def take(self) -> LedgerRecord | None:
        """Returns the next record; None: none waits."""
        ...

    def put_back(self, record: LedgerRecord) -> None:
        """Takes a record back that could not be stored; it is the next one again."""
        ...
