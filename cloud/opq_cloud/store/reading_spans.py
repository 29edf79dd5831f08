"""The spans of time [start_ns, end_ns) in which somebody may read a Box. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from opq_cloud.store.stated_facts import LAST_NS

Spans = tuple[tuple[int, int], ...]
"""In time order, not overlapping; empty: never."""
ALWAYS: Spans = ((0, LAST_NS),)


@dataclass(frozen=True, slots=True)
class BoxSpans:
    """Box -> when it may be read, of those Boxes that may not always be read; part of keys of caches."""

    items: frozenset[tuple[str, Spans]] = frozenset()
    of_box: Mapping[str, Spans] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "of_box", dict(self.items))

    @classmethod
    def of(cls, spans: Mapping[str, Spans]) -> "BoxSpans":
        return cls(frozenset(spans.items()))


def merged(spans: Iterable[tuple[int, int]]) -> Spans:
    """Returns the same time as spans in order, without empty ones."""
    found: list[tuple[int, int]] = []
    for start_ns, end_ns in sorted(each for each in spans if each[0] < each[1]):
        if found and start_ns <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end_ns)
        else:
            found.append((start_ns, end_ns))
    return tuple(found)


def has_moment(spans: Spans, t_ns: int) -> bool:
    return any(start_ns <= t_ns < end_ns for start_ns, end_ns in spans)


def has_whole(spans: Spans, start_ns: int, end_ns: int) -> bool:
    """Whether one of the spans has all of [start_ns, end_ns), which may be empty."""
    return any(first <= start_ns and max(start_ns + 1, end_ns) <= last for first, last in spans)


def common(spans: Spans, start_ns: int, end_ns: int) -> Iterator[tuple[int, int]]:
    """Yields the parts of [start_ns, end_ns) within the spans."""
    for first, last in spans:
        if max(first, start_ns) < min(last, end_ns):
            yield max(first, start_ns), min(last, end_ns)
