"""Where a Box has its samples from: the one interface of generators and replayed recordings."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Source(Protocol):
    """Where a Box has its samples from: a generator or a replayed recording."""

    @property
    def rate_millihz(self) -> int: ...

    @property
    def v_per_lsb(self) -> float: ...

    @property
    def nominal_v(self) -> float: ...

    @property
    def nominal_hz(self) -> float: ...

    @property
    def effective_bits(self) -> float: ...

    @property
    def offset_ns(self) -> int:
        """Time of sample 0 after the common start of the run."""
        ...

    def counts(self, first: int, count: int) -> NDArray[np.int16]:
        """(count,) converter counts from sample `first` on; asked for in rising order."""
        ...

    def marks(self, first: int, count: int) -> tuple[int, ...]:
        """Samples in this span at which a disturbance begins, as truth for the log."""
        ...
