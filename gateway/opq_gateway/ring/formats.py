"""The formats of the ring's files: which one a file has is told by its first bytes.

NNNNNNNNNNNN.seg    raw (raw.py), raw of the first format (first_format.py) or sealed (sealed.py);
                    sealing puts the sealed file in the raw one's place by a rename
"""

import os
from pathlib import Path

from opq_gateway.ring import raw, sealed
from opq_gateway.ring.segment import Segment
from opq_gateway.ring.stretch import Stretch


def open_segment(path: Path) -> Segment | None:
    """What a file holds, a broken tail left out; None when nothing of it can be used.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        layout = raw.layout(os.pread(fd, raw.HEAD_BYTES, 0))
        return sealed.describe(path, fd) if layout is None else raw.describe(path, fd, layout)


def read_span(segment: Segment, start_ns: int, end_ns: int, counts: bool = True) -> Stretch | None:
    """Records that touch [start_ns, end_ns), in order; None when there are none.

    A segment that was deleted meanwhile has none. Without `counts` the samples may be left out: the
    rows and losses are wanted.
    """
    try:
        with segment.path.open("rb", buffering=0) as file:
            fd = file.fileno()
            layout = raw.layout(os.pread(fd, raw.HEAD_BYTES, 0))
            if layout is None:
                found = sealed.read(fd, start_ns, end_ns, counts)
            else:
                found = raw.read(fd, layout, segment.records, start_ns, end_ns)
    except FileNotFoundError:
        return None
    return found if len(found.rows) or found.lost or found.bad else None
