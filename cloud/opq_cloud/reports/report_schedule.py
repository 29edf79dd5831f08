"""The weekly report on a schedule: to a folder, and by mail.

A report is due once its week is over and the day and hour have come. Its file is written complete or not at
all; what its mail says first is written before it, and a mark after the mail. So a process that is killed
anywhere makes what is missing when it runs again. It may mail a report twice, with the same Message-ID, where
it is killed at the moment in which the server accepts it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Final

from opq_cloud.core.settings.reports import ReportsSection
from opq_cloud.reports.fleet_reading import read_fleet
from opq_cloud.reports.limit_table import LimitTable, limit_table
from opq_cloud.reports.place_indices import IndexStore
from opq_cloud.reports.place_reading import NoPlaceError, PlaceChoice, place_choice
from opq_cloud.reports.sentences import sentences
from opq_cloud.reports.week import ReportWeek, local_moment, week_of
from opq_cloud.reports.written import MEDIA_TYPES, written
from opq_proto.decision import Nominal
from opq_proto.errors import ConfigError, OpqError
from opq_proto.kit.whole_file import private_folder, remove_unfinished, write_whole_file

DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")
LINES_MAILED = 12


@dataclass(frozen=True, slots=True)
class MadeReport:
    """What a turn did."""

    path: Path
    mailed: bool


class ReportSchedule:
    """Makes what is due; from one thread."""

    def __init__(
        self,
        section: ReportsSection,
        data_dir: Path,
        nominal: Nominal,
        deliver: Callable[[EmailMessage], None] | None,
        sender: str,
    ) -> None:
        """
        Args:
            deliver: sends a mail; None: no mail server is configured, so reports go to the folder alone.
        Raises:
            ConfigError: the standard, the zone, a place or an address cannot be used.
        """
        self._section, self._nominal = section, nominal
        self._deliver, self._sender = deliver, sender
        self._folder = section.folder or data_dir / "reports"
        try:
            self._table: LimitTable = limit_table(section.standard)
            week_of("last", section.zone, 0)
        except OpqError as error:
            raise ConfigError(f"reports: {error}") from error
        try:
            self._choices = tuple(map(place_choice, section.places))
        except NoPlaceError as error:
            raise ConfigError(f"reports.places: {error}") from error
        if section.addresses and deliver is None:
            raise ConfigError("reports.addresses: there is no mail server; set view.mail.server")

    @property
    def runs(self) -> bool:
        return self._section.day != "never"

    def due_week(self, now_ns: int) -> ReportWeek:
        """The latest week whose report has to be there now."""
        last = week_of("last", self._section.zone, now_ns)
        monday = last.monday + timedelta(weeks=1)
        day = monday + timedelta(days=DAYS.index(self._section.day))
        now = local_moment(now_ns, last.zone)
        is_time = (now.date(), now.hour) >= (day, self._section.hour)
        return last if is_time else last.before()

    def make_due(self, store: IndexStore, now_ns: int) -> list[MadeReport]:
        """Makes and mails what is due and not there; what was made before is left as it is.

        Raises:
            OpqError: a report cannot be made, e.g. the store refuses, or WeasyPrint is missing.
            OSError: the folder cannot be written, or the mail server does not answer.
        """
        if not self.runs:
            return []
        week, found = self.due_week(now_ns), []
        private_folder(self._folder)
        for half in self._folder.glob(f".*{week.name}-*.part"):  # a process was killed while it wrote
            half.unlink(missing_ok=True)
        for choice in self._choices:
            words = _NOT_IN_NAMES.sub("-", f"{week.name}-{choice.file_words}-{self._table.standard}")
            path = self._folder / f"{words}.{self._section.format}"
            mark, said = (path.with_name(f".{path.name}.{each}") for each in ("mailed", "said"))
            for each in (path, mark, said):
                remove_unfinished(each)
            made = not path.exists()
            if made:
                fleet = read_fleet(store, self._table, week, choice, self._nominal, now_ns)
                lines = [line for report in fleet.reports for line in sentences(report)[:3]][:LINES_MAILED]
                if self._section.addresses:
                    write_whole_file(said, ["\n\n".join(lines).encode()], 0o600)
                write_whole_file(path, [written(fleet, self._section.format, now_ns)], 0o600)
            mails = bool(self._section.addresses) and not mark.exists()
            if mails and self._deliver is not None:
                self._deliver(self._mail(path, week, choice, said.read_text() if said.exists() else ""))
                write_whole_file(mark, [b""], 0o600)
            if mark.exists():
                said.unlink(missing_ok=True)
            if made or mails:
                found.append(MadeReport(path, mails))
        return found

    def _mail(self, path: Path, week: ReportWeek, choice: PlaceChoice, said: str) -> EmailMessage:
        message = EmailMessage()
        message["From"], message["To"] = self._sender, ", ".join(self._section.addresses)
        message["Subject"] = f"[OPQ] {self._table.standard}, week {week.name}: {choice.words}"
        message["Message-ID"] = f"<{path.name}@opq.reports>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(f"{said}\n\nThe report is attached: {path.name}\n".lstrip())
        main, _, sub = MEDIA_TYPES[self._section.format].partition(";")[0].partition("/")
        message.add_attachment(path.read_bytes(), maintype=main, subtype=sub, filename=path.name)
        return message
