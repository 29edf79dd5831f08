"""MeasurementColumns: many Measurements of many Boxes as arrays, where an object each would cost too much.

Only for what is all alike: regular windows with the four metrics, exact times, and no sequence numbers.
`measurements()` gives the objects; both forms say the same, to the last bit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from opq_proto.decision import NS_PER_MS, Nominal
from opq_proto.messages import Measurement, Metric, TimeSource

METRIC_NAMES = ("f", "rms", "thd", "trans")
"""In the order of the arrays, and of the bytes on the wire."""


@dataclass(frozen=True, eq=False)
class MeasuredBoxes:
    """Boxes by index. One object serves all columns of a run, so that what follows from it is found once."""

    ids: tuple[str, ...]
    nominals: tuple[Nominal, ...]
    """What each says it is meant to measure."""

    @cached_property
    def alike(self) -> tuple[tuple[Nominal, NDArray[np.bool_]], ...]:
        """Each nominal that occurs, and (boxes,) whose it is."""
        return tuple(
            (nominal, np.array([each == nominal for each in self.nominals]))
            for nominal in dict.fromkeys(self.nominals)
        )


@dataclass(frozen=True, eq=False)
class MeasurementColumns:
    """n Measurements; those of one Box in time order."""

    boxes: MeasuredBoxes
    which: NDArray[np.int64]
    """(n,) Box by index."""
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    """(n,) UTC."""
    metrics: NDArray[np.float32]
    """(n, 4, 3) of METRIC_NAMES: least, most, mean. float32, as the wire has them."""
    uncertainty_ns: int
    source: TimeSource

    def __len__(self) -> int:
        return len(self.which)

    @cached_property
    def timestamp_ms(self) -> NDArray[np.int64]:
        """(n,) the end, rounded."""
        return (self.end_ns + NS_PER_MS // 2) // NS_PER_MS

    @cached_property
    def finite(self) -> bool:
        """Whether every number is one."""
        return bool(np.isfinite(self.metrics).all())

    @cached_property
    def once(self) -> bool:
        """Whether no Box has two of them."""
        return len(np.unique(self.which)) == len(self.which)

    def extremes(self) -> Iterator[tuple[Nominal, dict[str, tuple[float, float]]]]:
        """Each nominal of these Boxes, and the least and most of each metric over all that have it."""
        alike = self.boxes.alike
        for nominal, whose in alike:
            own = self.metrics if len(alike) == 1 else self.metrics[whose[self.which]]
            if len(own):
                ends = zip(own[:, :, 0].min(axis=0).tolist(), own[:, :, 1].max(axis=0).tolist(), strict=True)
                yield nominal, dict(zip(METRIC_NAMES, ends, strict=True))

    def measurements(self) -> list[Measurement]:
        """The same as objects, in the same order."""
        boxes = self.boxes
        rows = zip(
            self.which.tolist(),
            self.timestamp_ms.tolist(),
            self.start_ns.tolist(),
            self.end_ns.tolist(),
            self.metrics.tolist(),
            strict=True,
        )
        return [
            Measurement(
                boxes.ids[box],
                told_ms,
                {name: Metric(*row) for name, row in zip(METRIC_NAMES, values, strict=True)},
                start_ns,
                end_ns,
                self.uncertainty_ns,
                self.source,
                nominal_v=boxes.nominals[box].volts,
                nominal_hz=boxes.nominals[box].hz,
            )
            for box, told_ms, start_ns, end_ns, values in rows
        ]


def joined_columns(parts: Sequence[MeasurementColumns]) -> MeasurementColumns:
    """One after the other.

    Args:
        parts: at least one, all of the same Boxes, uncertainty and source.
    """
    first = parts[0]
    return MeasurementColumns(
        first.boxes,
        np.concatenate([part.which for part in parts]),
        np.concatenate([part.start_ns for part in parts]),
        np.concatenate([part.end_ns for part in parts]),
        np.concatenate([part.metrics for part in parts]),
        first.uncertainty_ns,
        first.source,
    )
