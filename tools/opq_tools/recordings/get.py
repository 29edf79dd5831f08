"""`opq-tools recordings get`: downloads the public recordings of a real dip, or those of a list.

The files have no licence, or one of their own, so the project does not ship them. Each is taken from a pinned
commit and checked against its sha256; a file that differs from the one used for our figures is not kept.
"""

import hashlib
import http.client
import json
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import click

from opq_proto.errors import OpqError
from opq_proto.kit.command_line import CommandGroup
from opq_proto.kit.http_client import HttpClientError, HttpLateError, send_request
from opq_proto.kit.whole_file import write_whole_file
from opq_tools.recordings.public import LARGEST_FILE_BYTES, LIST, read_list

REPOSITORY = "openpowerquality/article2020"
COMMIT = "c5f0668b578b2ac0e777ec69d5e6280605c8ca06"
BASE_URL = "https://raw.githubusercontent.com"
"""Below it: owner/name/commit/path."""
TIMEOUT_S = 30.0
WHOLE_S = 600.0
"""Limit of a whole download; TIMEOUT_S is that of a silence."""

COMMON: Mapping[str, object] = {
    "event_id": 9354,
    "rate_hz": 12000,
    "nominal_volts": 120.0,
    "nominal_hz": 60.0,
    "format": "int16 little endian, one channel, no header",
    "significant_bits": 8,
    "start": None,
    "start_note": "start time unknown; probably the event of 2017-11-01 in a figure of the source",
    "source_repo": REPOSITORY,
    "source_commit": COMMIT,
    "licence": None,
}
RECORDINGS: tuple[Mapping[str, object], ...] = (
    {
        "file": "event_9354_box1.i16",
        "box_id": "1",
        "volts_per_lsb": 0.0068,
        "samples": 22000,
        "duration_s": 22000 / 12000,
        "sha256": "72344897fcfaa7bc38c53814f5bc8eef6f95d4518bbdb59554df5f9059dc1144",
        "source_path": "dissertation-negrashov/data/time_dif_2devices/event_9354_1",
        "first_sample_on_box1_axis": 0.0,
        "first_sample_on_box1_axis_uncertainty": 0.0,
        **COMMON,
    },
    {
        "file": "event_9354_box4.i16",
        "box_id": "4",
        "volts_per_lsb": 0.0069,
        "samples": 20000,
        "duration_s": 20000 / 12000,
        "sha256": "0b56daec1f495e82935a3dce6978d588b64d622531e472623cb307c9d338b9bd",
        "source_path": "dissertation-negrashov/data/time_dif_2devices/event_9354_4",
        "first_sample_on_box1_axis": 822.5,
        "first_sample_on_box1_axis_uncertainty": 0.3,
        **COMMON,
    },
)
"""Known facts of each file, written as its .json. Rate and gain are those of the source's plotting script;
the offset between the two was found by correlation."""


class DownloadError(OpqError):
    """A recording cannot be downloaded, or is another file; nothing of it was kept."""


@click.group(cls=CommandGroup)
def command() -> None:
    """Public recordings: of a real dip in the mains, seen by two Boxes, and of other instruments.

    Example: opq-tools recordings get
    """


@command.command("get", short_help="Download public recordings and check them.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("recordings"),
    show_default=True,
    help="Folder for the downloaded files.",
)
@click.option(
    "--list",
    "listed",
    type=click.Path(path_type=Path, dir_okay=False),
    is_flag=False,
    flag_value=LIST,
    help="Those of this list (TOML); without a name, the recordings of docs/recordings.md.",
)
@click.option(
    "--base-url",
    default=BASE_URL,
    show_default=True,
    help="URL of a mirror that has owner/name/commit/path.",
)
@click.option("--force", is_flag=True, help="Replace a file of the same name with other contents.")
def get(out: Path, listed: Path | None, base_url: str, force: bool) -> None:
    """Download recordings and check them.

    Without --list, both recordings of the dip, with the known facts of each in a .json file. With it, some
    70 recordings of relays, meters and oscilloscopes; each stays under its own licence.

    \b
    Examples:
      opq-tools recordings get --out public --list
      opq-tools recordings get --out recordings
      opq-tools up --replay recordings/event_9354_box1.i16 --replay recordings/event_9354_box4.i16
    """
    if not base_url.startswith(("https://", "http://")):
        raise click.UsageError(f"--base-url {base_url!r}: want http:// or https://")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"{out}: cannot be made: {error.strerror or error}") from error
    try:
        if listed is not None:
            get_listed(listed, out, base_url.rstrip("/"), force=force)
            return
        for facts in RECORDINGS:
            click.echo(fetch(facts, out, base_url.rstrip("/"), force=force))
    except DownloadError:
        if not any(out.iterdir()):
            out.rmdir()
        raise


def get_listed(listed: Path, out: Path, base_url: str, *, force: bool = False) -> None:
    """Downloads the recordings of a list, each below owner/name; goes on if one cannot be downloaded.

    Raises:
        DownloadError: some files could not be downloaded; the others were kept.
        ListError: the list cannot be read.
    """
    missed = 0
    recordings = read_list(listed)
    total = sum(len(each.files) for each in recordings)
    for recording in recordings:
        for path, digest in recording.files.items():
            place = out / recording.repository / path
            url = f"{base_url}/{recording.repository}/{recording.commit}/{quote(path)}"
            try:
                if _is_here(place, digest, force=force):
                    click.echo(f"{place}: was here already, checked")
                    continue
                content = _checked(_download(url, LARGEST_FILE_BYTES), digest, url)
                place.parent.mkdir(parents=True, exist_ok=True)
                write_whole_file(place, [content])
            except (DownloadError, OSError) as error:
                missed += 1
                click.echo(f"opq-tools: {error}", err=True)
                continue
            click.echo(f"{place}: {len(content):,} bytes, checked; licence: {recording.licence}")
    if missed:
        raise DownloadError(
            f"{missed} of {total} files could not be downloaded; the same command tries them again"
        )


def fetch(facts: Mapping[str, object], folder: Path, base_url: str, *, force: bool = False) -> str:
    """Downloads one recording and writes its .json; returns a line that says what was done.

    Raises:
        DownloadError: not reachable, cut short, other content, or another file has its name.
    """
    path, digest = folder / str(facts["file"]), str(facts["sha256"])
    url = f"{base_url}/{REPOSITORY}/{COMMIT}/{quote(str(facts['source_path']))}"
    try:
        if _is_here(path, digest, force=force):
            _write_facts(path, facts)
            return f"{path}: was here already, checked"
        content = _checked(_download(url, size := 2 * int(str(facts["samples"]))), digest, url, size)
        _write_facts(path, facts)  # first, so that samples never exist without their gain
        write_whole_file(path, [content])
    except OSError as error:
        raise DownloadError(str(error)) from error
    return f"{path}: {len(content):,} bytes, checked"


def _is_here(path: Path, digest: str, *, force: bool) -> bool:
    """Whether the file is there. Raises DownloadError where another one has its name, and is not replaced."""
    if not path.exists():
        return False
    if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
        return True
    if not force:
        raise DownloadError(f"{path}: another file of this name is there; move it away or give --force")
    return False


def _download(url: str, size: int) -> bytes:
    try:
        answer = send_request(url, WHOLE_S, most_bytes=size, by_proxy=True, silent_s=TIMEOUT_S)
    except HttpLateError as error:
        raise DownloadError(f"{url}: the download broke off: {error}") from error
    except HttpClientError as error:
        reason = error.__cause__
        if isinstance(reason, http.client.HTTPException | ConnectionResetError | ValueError):
            raise DownloadError(f"{url}: the download broke off: {str(error).strip()}") from error
        if reason is None:
            raise DownloadError(f"{url}: {error}; nothing kept") from error
        raise DownloadError(f"{url}: cannot be reached: {error}") from error
    if answer.status != HTTPStatus.OK:
        raise DownloadError(f"{url}: the server answers {answer.status}")
    return answer.content


def _checked(content: bytes, digest: str, url: str, size: int | None = None) -> bytes:
    """The content. Raises DownloadError where it is of another size, or another one."""
    most = LARGEST_FILE_BYTES if size is None else size
    if len(content) > most or (size is not None and len(content) < size):
        more = "more than " if len(content) > most else ""
        raise DownloadError(
            f"{url}: {more}{min(len(content), most):,} bytes came, want {most:,}"
            f"{' at most' if size is None else ''}; nothing kept"
        )
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise DownloadError(f"{url}: sha256 is {found}, want {digest}; nothing kept")
    return content


def _write_facts(path: Path, facts: Mapping[str, object]) -> None:
    write_whole_file(path.with_suffix(".json"), [json.dumps(facts, indent=2).encode(), b"\n"])
