"""The table of many recordings: what was found in each, and what could not be read and why."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from opq_proto.visible_text import visible

ROWS_PER_PART = 200
"""Most rows of a part; the file of lines has all."""
NAME_LETTERS = 48


def report_lines(lines: Sequence[dict[str, Any]], root: Path, kept: int, out: Path | None) -> Iterator[str]:
    """The table as text."""
    read = [line for line in lines if "error" not in line]
    failed = [line for line in lines if "error" in line]
    yield f"{len(lines)} recordings: {len(read)} analysed, {len(failed)} could not be" + (
        f"; {kept} of them were done before" if kept else ""
    )
    if read:
        yield ""
        yield f"{'recording':{NAME_LETTERS}} {'seconds':>9} {'rms V':>10} {'Hz':>8} {'THD %':>6}  found"
        yield from (_row(line, root) for line in read[:ROWS_PER_PART])
        yield from _more(read, out)
        total = Counter(each["class"] for line in read for each in line["events"])
        if total:
            yield f"in all: {', '.join(f'{count} {name}' for name, count in total.most_common())}"
    if failed:
        yield ""
        yield "could not be read or measured:"
        yield from (f"{_name(line, root)} {line['error']}" for line in failed[:ROWS_PER_PART])
        yield from _more(failed, out)


def _row(line: dict[str, Any], root: Path) -> str:
    def shown(value: float | None, width: int, digits: int) -> str:
        return f"{value:{width}.{digits}f}" if value is not None else "–".rjust(width)

    rms, hz, thd = line["rms_v"] or {}, line["frequency_hz"] or {}, line["thd_percent"] or {}
    found = Counter(each["class"] for each in line["events"])
    words = [f"{count} × {name}" if count > 1 else name for name, count in sorted(found.items())]
    words += sorted({each["kind"] for each in line["faults"]})
    words += [f"{len(line['problems'])} problems in the file"] if line["problems"] else []
    return (
        f"{_name(line, root)} {shown(line['duration_s'], 9, 3)} {shown(rms.get('median'), 10, 4)}"
        f" {shown(hz.get('mean'), 8, 3)} {shown(thd.get('mean'), 6, 2)}  {', '.join(words) or '–'}"
    )


def _name(line: dict[str, Any], root: Path) -> str:
    path = Path(line["file"])
    name = visible(str(path.relative_to(root) if path.is_relative_to(root) else path))
    made = line["made_of"] or {}
    if "recordings" in made:
        name += f" {line.get('channel', made['recording'])}"
    return f"…{name[1 - NAME_LETTERS :]}" if len(name) > NAME_LETTERS else f"{name:{NAME_LETTERS}}"


def _more(rows: Sequence[object], out: Path | None) -> Iterator[str]:
    if len(rows) > ROWS_PER_PART:
        yield f"and {len(rows) - ROWS_PER_PART} more" + (f"; {out} has all" if out else "")
