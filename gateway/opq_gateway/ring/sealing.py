"""Sealing: makes a sealed segment from a raw one. Run as a program, it is the child of `sealer.py`.

    python -m opq_gateway.ring.sealing       paths in, one a line; answers out, one JSON object a line

The child uses only spare processor time and disk access, and ends with its stdin, that is with its parent. It
makes files next to the raw ones; only the ring's writer replaces and deletes files.
"""

import json
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path

from opq_gateway.ring import raw, sealed
from opq_gateway.ring.record import BEFORE_SAMPLES
from opq_gateway.ring.segment import RecordColumns
from opq_gateway.ring.segment_catalogue import SEALING
from opq_proto.kit.whole_file import open_private


class NotSealableError(ValueError):
    """The file is not a raw segment, or cannot be packed without loss."""


def seal(path: Path, goes_on: Callable[[], bool] = lambda: True) -> Path | None:
    """Makes the sealed file of a raw segment, on the disk, next to it; None: `goes_on` returned False.

    Every chunk is unpacked again and compared before it is accepted. Damaged records are left out, as by any
    reader.

    Raises:
        NotSealableError: not a raw segment of the present format, or an empty one.
        OSError: the disk refuses.
    """
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        head = os.pread(fd, raw.HEAD_BYTES, 0)
        layout = raw.raw_layout(head)
        segment = raw.describe_raw(path, fd, layout) if layout is not None else None
        if layout is None or segment is None:
            raise NotSealableError(f"{path}: not a raw segment, or without samples")
        chunks = []
        samples = sealed.CHUNK_SAMPLES
        index = 0
        while index < segment.records:
            if not goes_on():
                return None
            count = max(1, 2 * samples // (layout.stride - BEFORE_SAMPLES))
            part = layout.parse(
                os.pread(fd, min(count, segment.records - index) * layout.stride, layout.at(index)), index
            )
            if len(part.rows) or part.lost:
                try:
                    chunks.append((sealed.chunk(part), *_touched(part)))
                except ValueError as error:
                    raise NotSealableError(f"{path}, record {index}: {error}") from error
                samples = sealed.next_chunk_samples(len(chunks[-1][0]), len(part.counts))
            index += count
    beside = path.with_suffix(SEALING)
    try:
        with os.fdopen(open_private(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as out:
            out.write(sealed.sealed_file(segment, raw.box_id(head), chunks))
            out.flush()
            os.fsync(out.fileno())
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    return beside


def _touched(part: RecordColumns) -> tuple[int, int]:
    """[start_ns, end_ns) of a chunk's rows and losses."""
    starts = [one.start_ns for one in part.lost]
    ends = [one.end_ns for one in part.lost]
    if len(part.rows):
        starts.append(int(part.rows["t_ns"].min()))
        ends.append(int(part.ends_ns.max()))
    return min(starts), max(ends)


def _yield_to_others() -> None:
    """Sets the lowest nice; with it the kernel also ranks disk accesses last.

    SCHED_IDLE is not used, because on a busy machine such a process would hold locks of the file system for
    seconds and take as long to end.
    """
    os.nice(19)


def _parent_is_there() -> bool:
    """Whether the parent still runs. The parent sends nothing while a segment is packed, so a readable stdin
    is at its end."""
    return not select.select([0], [], [], 0)[0]


def main() -> None:
    """Answers each path until stdin ends."""
    _yield_to_others()
    for line in iter(sys.stdin.buffer.readline, b""):
        path = Path(os.fsdecode(line.rstrip(b"\n")))
        try:
            made = seal(path, _parent_is_there)
        except NotSealableError as error:
            answer = {"problem": str(error)}
        except OSError as error:
            answer = {"refused": str(error)}
        else:
            if made is None:
                return
            answer = {"made": str(made)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
