"""Values of other meters, in the original's form `ground_truth` (docs/reference/opq-interop.md, D.7)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opq_cloud.store.records.part import StorePart
from opq_cloud.store.records.tables import GROUND_TRUTH


@dataclass(frozen=True, slots=True)
class MeterValue:
    """A value of one quantity; None where the meter does not give it."""

    meter: str
    quantity: str
    """As intervals name it: `rms_v`, `f_hz`; the original's `sample-type`."""
    time_s: int
    """Start of its time, UTC."""
    actual: float | None = None
    least: float | None = None
    most: float | None = None
    mean: float | None = None
    deviation: float | None = None

    @property
    def value(self) -> float | None:
        """The mean, or the single value where there is none."""
        return self.actual if self.mean is None else self.mean


class MeterRecords(StorePart):
    """`ground_truth`; kept until it is removed."""

    def put_meter_values(self, values: Iterable[MeterValue]) -> int:
        """Stores values, in place of those of the same meter, quantity and time; returns how many."""
        rows = [
            {
                "meter-name": each.meter,
                "sample-type": each.quantity,
                "ts-s": each.time_s,
                "actual": each.actual,
                "min": each.least,
                "max": each.most,
                "avg": each.mean,
                "stddev": each.deviation,
            }
            for each in values
        ]
        self._driver.write(lambda documents: documents.put(GROUND_TRUTH, rows))
        return len(rows)

    def meter_values(self, meter: str, quantity: str, start_s: int, end_s: int) -> list[MeterValue]:
        """Returns the values from [start_s, end_s), in time order."""
        where = [
            ("meter-name", "=", meter),
            ("sample-type", "=", quantity),
            ("ts-s", ">=", start_s),
            ("ts-s", "<", end_s),
        ]
        with self._driver.read() as documents:
            return [
                MeterValue(meter, quantity, int(each["ts-s"]), *_figures(each))
                for each in documents.find(GROUND_TRUTH, where, sort=("ts-s",))
            ]

    def meters(self) -> dict[str, int]:
        """Returns meter -> number of its values."""
        with self._driver.read() as documents:
            return {
                str(name): count for name, count in documents.tally(GROUND_TRUTH, (), "meter-name").items()
            }

    def remove_meter(self, meter: str) -> int:
        """Removes all values of a meter; returns how many."""
        return self._driver.write(
            lambda documents: documents.remove(GROUND_TRUTH, [("meter-name", "=", meter)])
        )


def _figures(document: dict[str, object]) -> Iterator[float | None]:
    for name in ("actual", "min", "max", "avg", "stddev"):
        value = document.get(name)
        yield float(value) if isinstance(value, (int, float)) else None
