"""One row of the table: a quantity under stated conditions, our worst error and the standard's limit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """`error` and `limit` in `unit`; the error is the worst of all windows and sub-points."""

    clause: str
    quantity: str
    condition: str
    error: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        return self.error <= self.limit  # False for NaN

    @property
    def line(self) -> str:
        """For people."""
        verdict = "" if self.met else "  OVER THE LIMIT"
        return (
            f"{self.clause:<5} {self.quantity:<22} {self.condition:<44} "
            f"{self.error:>9.2g} of {self.limit:g} {self.unit}{verdict}"
        )
