"""`opq-tools analyze --intervals FILE`: the values of 150/180 cycles, ten minutes and two hours."""

import json
from collections.abc import Iterator
from pathlib import Path

from opq_analyze.measuring import Measured
from opq_cloud.export.exported_records import software_name
from opq_cloud.export.tables import ExportTable, TableColumn, TableForm, known_numbers, table_pieces
from opq_proto.kit.whole_file import write_whole_file

FORMS: dict[str, TableForm] = {".csv": "csv", ".parquet": "parquet", ".json": "json"}
FACTS = (
    "file",
    "format",
    "channel",
    "rate_hz",
    "nominal_volts",
    "nominal_hz",
    "assumed",
    "problems",
    "left_out",
)
QUANTITIES = ("rms_v", "frequency_hz", "thd_percent")
STATISTICS = ("mean", "min", "max")


def write_intervals(path: Path, found: Measured) -> None:
    """Writes the table in the form that the name's ending says; it appears whole or not at all.

    Raises:
        FileNotWrittenError: the file cannot be written.
        ExportError: Parquet without pyarrow.
    """
    if path.suffix.lower() == ".jsonl":
        write_whole_file(path, (json.dumps(known_numbers(row)).encode() + b"\n" for row in _rows(found)))
        return
    summary = found.summary(str(found.recording.path))
    facts = {**{key: summary[key] for key in FACTS}, "software": software_name()}
    table = ExportTable("intervals", _columns(found), _rows(found), facts)
    write_whole_file(path, table_pieces(table, FORMS[path.suffix.lower()]))


def _columns(found: Measured) -> tuple[TableColumn, ...]:
    quantities = [name for name in QUANTITIES if name != "thd_percent" or "harmonics" not in found.left_out]
    return (
        TableColumn("interval", "text", ("kind",)),
        TableColumn("start_ns", "whole"),
        TableColumn("end_ns", "whole"),
        TableColumn("utc", "flag"),
        TableColumn("windows", "whole", ("count",)),
        TableColumn("coverage", "number"),
        TableColumn("flagged", "flag"),
        *(
            TableColumn(name if each == "mean" else f"{name}_{each}", "number", ("values", name, each))
            for name in quantities
            for each in STATISTICS
        ),
    )


def _rows(found: Measured) -> Iterator[dict[str, object]]:
    for rows in found.analysis.aggregate_rows():
        yield from rows
