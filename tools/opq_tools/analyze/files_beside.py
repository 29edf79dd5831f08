"""The files that `analyze` writes beside its answer: a picture, a page, a table."""

from collections.abc import Iterator
from pathlib import Path

from opq_measure.events.limits import Limits
from opq_tools.analyze.measuring import Measured

SUFFIXES = {
    "--plot": (".png", ".svg", ".pdf"),
    "--report": (".html", ".htm"),
    "--intervals": (".csv", ".parquet", ".json", ".jsonl"),
}
"""Option -> what its file's name may end in."""


def written_files(
    found: Measured, limits: Limits, plot: Path | None, report: Path | None, intervals: Path | None
) -> Iterator[Path]:
    """Writes the files that are asked for; yields each when it is whole.

    Raises:
        FileNotWrittenError: one cannot be written.
    """
    if plot is not None:
        from opq_tools.analyze.figure import save_figure

        save_figure(plot, found, limits)
        yield plot
    if report is not None:
        from opq_tools.analyze.page import write_page

        write_page(report, found, limits)
        yield report
    if intervals is not None:
        from opq_tools.analyze.intervals import write_intervals

        write_intervals(intervals, found)
        yield intervals
