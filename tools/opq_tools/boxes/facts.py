"""Arguments and options of `boxes`, their limits, and the slug of a place."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

from opq_cloud.store import BoxRecord, CloudStore, LocationRecord
from opq_cloud.store.box_place import slug_of_its_own
from opq_cloud.store.site_key import checked_site
from opq_cloud.store.stated_facts import NS_PER_MS
from opq_proto.errors import OpqError
from opq_proto.keys.key_files import checked_box_id
from opq_proto.kit.plain_text import composed, refused_letter
from opq_proto.messages import GAIN_V, NOMINAL_HZ, NOMINAL_V
from opq_tools.shared import values
from opq_tools.shared.moment import moment_ns

F = TypeVar("F", bound=Callable[..., object])
LONGEST_TEXT = 200


def _box_id(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    try:
        return None if text is None else checked_box_id(text)
    except OpqError as error:
        raise click.BadParameter(str(error)) from error


box_argument = click.argument("box_id", metavar="BOX", callback=_box_id, shell_complete=values.boxes)
box_or_all = click.argument(
    "box_id", metavar="[BOX]", required=False, callback=_box_id, shell_complete=values.boxes
)
Reader = Callable[[click.Context, click.Parameter, str | None], float | None]


def _between(least: float, most: float) -> Reader:
    """Returns a reader of numbers from `least` to `most`; click's own range lets a NaN pass."""

    def read(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
        if text is None:
            return None
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            raise click.BadParameter(f"{text!r} is not a number from {least:g} to {most:g}")
        return number

    return read


def _text(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    text = composed(" ".join(filter(None, text.strip().split(" "))))
    if len(text) > LONGEST_TEXT:
        raise click.BadParameter(f"has {len(text)} characters, want one line of at most {LONGEST_TEXT}")
    if (letter := refused_letter(text)) is not None:
        raise click.BadParameter(f"has the character {letter}; want one line of letters and signs")
    return text


def _name(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    found = _text(context, parameter, text)
    if found == "":
        raise click.BadParameter("a Box needs a name; without one of yours it is called Box 7")
    return found


def _site(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    try:
        found = _text(context, parameter, text)
        return None if found is None else checked_site(found)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_FACTS = (
    click.option("--name", callback=_name, help="Name, shown on pages next to the Box's number."),
    click.option("--description", callback=_text, help="Description, one line."),
    click.option("--feeder", callback=_text, help="Name of the feeder that it is connected to."),
    click.option("--site", callback=_site, help="Site: Boxes on the phases of one supply have one."),
    click.option("--phase", callback=_text, help="Phase that it measures, e.g. L1."),
    click.option(
        "--grid", callback=_text, help="Name of its grid; Boxes of one grid have one frequency.  [default: 1]"
    ),
    click.option(
        "--nominal-v",
        metavar="NUMBER",
        callback=_between(*NOMINAL_V),
        help="Nominal voltage, V rms.",
    ),
    click.option(
        "--nominal-hz", metavar="NUMBER", callback=_between(*NOMINAL_HZ), help="Nominal frequency, Hz."
    ),
    click.option(
        "--unplugged/--plugged-in", "unplugged", default=None, help="Whether the Box is expected to send."
    ),
    click.option(
        "--v-per-lsb",
        metavar="NUMBER",
        callback=_between(*GAIN_V),
        help="Gain: volts per count of its converter.",
    ),
    click.option(
        "--calibration-constant",
        metavar="NUMBER",
        callback=_between(1 / GAIN_V[1], 1 / GAIN_V[0]),
        help="Gain as in the original: counts per volt, 1 / v_per_lsb.",
    ),
)
_PLACE = (
    click.option(
        "--lat",
        "latitude",
        metavar="NUMBER",
        callback=_between(-90, 90),
        help="Latitude of its place, degrees north (WGS 84).",
    ),
    click.option(
        "--lon",
        "longitude",
        metavar="NUMBER",
        callback=_between(-180, 180),
        help="Longitude of its place, degrees east.",
    ),
    click.option(
        "--location",
        callback=_text,
        help="Short name of its place: a known one, or a new one together with --lat and --lon.",
    ),
    click.option(
        "--region", callback=_text, help="Short name of its region; its location is put into the same region."
    ),
)


def since_option(command: F) -> F:
    """Adds `--since TIME`, passed as `since_ms`; None: from now on."""
    text = "When this began (UTC), e.g. 2026-10-26; what was before stays.  [default: now]"
    return click.option("--since", "since_ms", callback=_since_ms, metavar="TIME", help=text)(command)


def _since_ms(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    moment = moment_ns(context, parameter, text)
    if moment is not None and moment > time.time_ns():
        raise click.BadParameter(f"{text!r} is to come; want a time that is past, or leave it out")
    return None if moment is None else moment // NS_PER_MS


def fact_options(command: F) -> F:
    """Adds all options of `boxes set`, named like the parameters of `box_facts`, and `--since`."""
    return _with(_FACTS, since_option(command))


def place_options(command: F) -> F:
    """Adds all options of `boxes place`, named like the parameters of `put_place` and `box_facts`, and
    `--since`."""
    return _with(_PLACE, since_option(command))


def _with(options: Sequence[Callable[[F], F]], command: F) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def box_facts(box_id: str, location: str | None, **given: Any) -> BoxRecord:
    """The record to store; fields that were not given are None.

    Raises:
        click.UsageError: a gain is given twice.
    """
    facts: Mapping[str, Any] = {key: value for key, value in given.items() if key != "v_per_lsb"}
    constant, v_per_lsb = given.get("calibration_constant"), given.get("v_per_lsb")
    if constant is not None and v_per_lsb is not None:
        raise click.UsageError("--v-per-lsb and --calibration-constant are the same value; give one of them")
    if v_per_lsb is not None:
        constant = 1 / v_per_lsb
    retired_ms = 0 if given.get("unplugged") is False else None
    return BoxRecord(
        box_id,
        location=location,
        retired_ms=retired_ms,
        **{**facts, "name": given.get("name") or "", "calibration_constant": constant},
    )


def put_place(
    store: CloudStore, box_id: str, latitude: float | None, longitude: float | None, slug: str | None
) -> str | None:
    """Slug of the Box's place after the command; stores its coordinates. None: no place was given.

    Coordinates without a slug get a slug of the Box's own: `box-7`, or `box-7-2` after a move.

    Raises:
        click.UsageError: only one coordinate is given, or the slug is unknown and has no coordinates.
    """
    if (latitude is None) != (longitude is None):
        raise click.UsageError("--lat and --lon belong together; give both")
    known = store.locations()
    if latitude is None or longitude is None:
        if slug and slug not in known:
            raise location_not_known(slug, known)
        return slug
    if not slug:
        try:
            slug = slug_of_its_own(known, box_id, latitude, longitude)
        except ValueError as error:
            raise click.UsageError(f"{error}; name this one with --location") from None
    before = known.get(slug)
    store.put_location(LocationRecord(slug, latitude, longitude, before.description if before else ""))
    return slug


def location_not_known(slug: str, known: Iterable[str] = ()) -> click.UsageError:
    """The error that lists the known locations."""
    names = ", ".join(sorted(known)[:20]) or "none"
    return click.UsageError(f"location {slug!r} is not known: give --lat and --lon too, or one of: {names}")
