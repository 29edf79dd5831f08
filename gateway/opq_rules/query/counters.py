"""What a query counts."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class Counters:
    """`records_in`: of all streams; `late`: dropped behind the watermark; `errors`: not computable."""

    records_in: int = 0
    emissions: int = 0
    late: int = 0
    errors: int = 0
    last_error: str = ""
    last_error_ms: int = 0

    def state(self) -> dict[str, Any]:
        return asdict(self)

    def restore(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
