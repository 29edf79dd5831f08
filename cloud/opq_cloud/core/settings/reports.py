"""The `[reports]` section: the weekly report on a schedule, run by the service of notifications."""

from pathlib import Path
from typing import Annotated, Literal

from opq_proto.config.reading import Field, section


@section
class ReportsSection:
    """Mails go through `[view.mail]`."""

    day: Annotated[
        Literal["never", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
        Field(description="weekday on which the report of the last week is made; never: none is made"),
    ] = "never"
    hour: Annotated[
        int, Field(ge=0, le=23, description="hour of that day; gateways that were off line send later")
    ] = 6
    zone: Annotated[str, Field(description="zone whose clock weeks and hours follow")] = "UTC"
    standard: Annotated[
        str, Field(description="limits: en50160, iec61000-2-2, ieee519 and others, or a .toml file")
    ] = "en50160"
    format: Annotated[
        Literal["html", "pdf", "json", "csv"], Field(description="format; pdf needs the extra `report`")
    ] = "html"
    places: Annotated[
        tuple[str, ...],
        Field(description="a report each: all, or box, site or feeder with a name, e.g. site:mill"),
    ] = ("all",)
    folder: Annotated[
        Path | None, Field(description="folder for the reports; none: reports in the data folder")
    ] = None
    addresses: Annotated[
        tuple[str, ...], Field(description="e-mail addresses that get each report; none: no mail")
    ] = ()
