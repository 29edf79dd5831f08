"""The `[reports]` section: the weekly report on a schedule, run by the service of notifications."""

from pathlib import Path
from typing import Annotated, Literal

from opq_proto.config.reading import Field, Why, section


@section
class ReportsSection:
    """Mails go through `[view.mail]`."""

    day: Annotated[
        Literal["never", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
        Field(description="weekday on which the report of the last week is made; never: none is made"),
        Why("Set a weekday to get a report of each week without asking for it."),
    ] = "never"
    hour: Annotated[
        int,
        Field(ge=0, le=23, description="hour of that day; gateways that were off line send later"),
        Why("Raise it where gateways are off line at night and send later."),
    ] = 6
    zone: Annotated[
        str,
        Field(description="zone whose clock weeks and hours follow"),
        Why("Set the zone of the place, because days and weeks of a standard follow its clock."),
    ] = "UTC"
    standard: Annotated[
        str,
        Field(description="limits: en50160, iec61000-2-2, ieee519 and others, or a .toml file"),
        Why("Choose the standard of your country or contract."),
    ] = "en50160"
    format: Annotated[
        Literal["html", "pdf", "json", "csv"],
        Field(description="format; pdf needs the extra `report`"),
        Why("Choose pdf for a file that is archived or sent to people."),
    ] = "html"
    places: Annotated[
        tuple[str, ...],
        Field(description="a report each: all, or box, site or feeder with a name, e.g. site:mill"),
        Why("Name sites or feeders that need a report each."),
    ] = ("all",)
    folder: Annotated[
        Path | None,
        Field(description="folder for the reports; none: reports in the data folder"),
        Why("Set it where reports go to a shared folder."),
    ] = None
    addresses: Annotated[
        tuple[str, ...],
        Field(description="e-mail addresses that get each report; none: no mail"),
        Why("Name who gets each report by mail."),
    ] = ()
