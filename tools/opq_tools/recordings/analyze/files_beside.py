"""The files that `analyze` writes beside its answer: a picture, a page, a table."""

from collections.abc import Iterator
from pathlib import Path

from opq_analyze.measuring import Measured
from opq_analyze.phases import Phases
from opq_measure.events.limits import Limits
from opq_proto.kit.whole_file import write_whole_file

SUFFIXES = {
    "--plot": (".png", ".svg", ".pdf"),
    "--report": (".html", ".htm"),
    "--intervals": (".csv", ".parquet", ".json", ".jsonl"),
}
"""Option -> what its file's name may end in."""


def written_files(
    found: Measured,
    phases: Phases | None,
    limits: Limits,
    plot: Path | None,
    report: Path | None,
    intervals: Path | None,
) -> Iterator[Path]:
    """Writes the files that are asked for; yields each when it is whole.

    Raises:
        FileNotWrittenError: one cannot be written.
    """
    if plot is not None:
        from opq_tools.recordings.analyze.figure import save_figure

        save_figure(plot, found, limits)
        yield plot
    if report is not None:
        from opq_analyze.page import page_of

        write_whole_file(report, [page_of(found, limits, phases).encode()])
        yield report
    if intervals is not None:
        from opq_tools.recordings.analyze.interval_lines import write_intervals

        write_intervals(intervals, found)
        yield intervals
