"""`opq-tools logs`: the command; a source yields the lines, `LineFilter` chooses, this prints."""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import click

from opq_proto.errors import OpqError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.shared_options import data_dir_option, json_option
from opq_proto.kit.system_place import find_system
from opq_tools.shared.moment import from_option
from opq_tools.system.logs.line import LEVELS, LineFilter, LogLine, boxes_of, line_words
from opq_tools.system.logs.sources import LogFiles, LogsError, journal_lines, runs_by_systemd

MAX_LINES = 200


@click.command("logs", short_help="Log lines of all services in the order of time.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines as they come, until Ctrl-C.")
@click.option(
    "--service",
    "services",
    multiple=True,
    help="Only lines of this service, e.g. gateway, mauka or view; repeatable.",
)
@click.option("--box", "box_id", default="", help="Only lines about this Box.")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="debug",
    show_default=True,
    help="Only lines of at least this level; error also shows what failed with which traceback.",
)
@from_option("Only lines from this time on (UTC), e.g. 2026-11-20T10:00:00 or now-10m.")
@click.option(
    "--lines",
    "most",
    type=click.IntRange(0),
    help=f"Print at most this many of the newest lines; 0 for all.  [default: {MAX_LINES}; all with --from]",
)
@json_option
@data_dir_option
def command(
    follow: bool,
    services: tuple[str, ...],
    box_id: str,
    level: str,
    start_ns: int | None,
    most: int | None,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    """Show what the services logged, oldest first: of systemd's units, or of a system's data folder.

    Where units of ours run and no --data-dir is given, the lines come from systemd's journal. Plain lines,
    such as those of a traceback, are shown with the lines around them.

    \b
    Examples: opq-tools logs --follow --level warning
              opq-tools logs --service mauka --box 1 --from now-1h
    """
    since = "" if start_ns is None else datetime.fromtimestamp(start_ns / 1e9, UTC).isoformat()[:26]
    wanted = LineFilter(services, box_id, level, since)
    newest = (0 if since else MAX_LINES) if most is None else most
    try:
        if data_dir is None and runs_by_systemd():
            lines = journal_lines(since, newest if follow else 0, follow)
            printed = _print(
                filter(wanted.wants, lines) if follow else _newest(lines, wanted, newest), as_json
            )
            if box_id and not (printed or follow):
                _refuse_unknown(box_id, journal_lines("", 0, follow=False), None)
            return
        data_dir = find_system(data_dir, None)[0]
        files = LogFiles(data_dir)
        try:
            printed = _print(_newest(files.lines(), wanted, newest), as_json)
            if box_id and not (printed or follow):
                with closing(LogFiles(data_dir)) as again:
                    _refuse_unknown(box_id, again.lines(), data_dir)
            if follow:
                _print(filter(wanted.wants, files.follow()), as_json)
        finally:
            files.close()
    except KeyboardInterrupt:
        return


def _refuse_unknown(box_id: str, lines: Iterable[LogLine], data_dir: Path | None) -> None:
    """Refuses a Box that no line, no key and no store of the system knows.

    Raises:
        LogsError: no line names it, and there is no store that can be read.
        BoxNotKnownError: the store does not know it either.
    """
    from opq_tools.shared.opened_store import BoxNotKnownError, check_known_boxes, opened_store  # 20 ms

    named = {each for line in lines for each in boxes_of(line)}
    known = set(named)
    try:
        known |= KeyFolder(find_system(data_dir, None)[0] / "curve").known_boxes()
        if box_id not in known:
            with opened_store(None, data_dir) as store:
                check_known_boxes(store, [box_id], known)
    except BoxNotKnownError:
        raise
    except (OpqError, OSError):
        there = f"those named are {', '.join(sorted(named))}" if named else "none is named"
        raise LogsError(f"no line of the logs there names Box {box_id}; {there}") from None


def _newest(lines: Iterable[LogLine], wanted: LineFilter, most: int) -> Iterator[LogLine]:
    chosen = filter(wanted.wants, lines)
    yield from deque(chosen, maxlen=most) if most else chosen


def _print(lines: Iterable[LogLine], as_json: bool) -> int:
    """Returns how many it printed."""
    printed = 0
    for line in lines:
        click.echo(json.dumps({"source": line.source, **line.facts}) if as_json else line_words(line))
        printed += 1
    return printed
