"""The store's facts about a Box and its place; most readers of them need no store."""

from dataclasses import dataclass

from opq_cloud.store.stated_starts import StatedStart


@dataclass(frozen=True, slots=True)
class BoxRecord:
    """The facts about a Box (the original's `opq_boxes`).

    None means unknown; a field that is put as None keeps its stored value. A text that is put as "" is
    removed, except `name`, which then keeps its value and is, for example, "Box 7" for a new Box.
    """

    box_id: str
    name: str
    location: str | None = None
    """Slug of its location (`LocationRecord`)."""
    calibration_constant: float | None = None
    """Counts per volt; 1 / v_per_lsb."""
    nominal_v: float | None = None
    """Nominal voltage, volts; where it is unknown, a service uses its own default."""
    nominal_hz: float | None = None
    unplugged: bool | None = None
    """True where it is not expected to send anything; unknown counts as False."""
    description: str | None = None
    region: str | None = None
    """The Box's own region; without it the region of its location holds (`box_place.box_place`)."""
    feeder: str | None = None
    site: str | None = None
    """Boxes of one site are on the phases of one supply, as people state."""
    phase: str | None = None
    grid: str | None = None
    """Boxes of one grid have one frequency; unknown is grid "1" (docs/reference/contracts.md, Findings and
    incidents)."""
    public_key: str | None = None
    """Z85; the original makes its allow-list from it."""
    location_start_time_ms: int | None = None
    location_archive: tuple[tuple[str, int | None], ...] = ()
    """Former locations: (location, beginning in ms); where it is put empty, the stored value stays."""
    gateway_id: int | None = None
    """Number of the gateway that sends its Measurements (docs/reference/contracts.md, field 1013)."""
    retired_ms: int | None = None
    """When it was taken out of service for good; where it is put as 0, the Box is in service again."""
    starts: tuple[StatedStart, ...] = ()
    """Its latest starts and what they stated, in order; where it is put empty, the stored value stays."""

    @property
    def is_in_service(self) -> bool:
        """Whether it is expected to send."""
        return not (self.unplugged or self.retired_ms)


@dataclass(frozen=True, slots=True)
class LocationRecord:
    """A place where Boxes are (the original's `locations`), in degrees, WGS 84."""

    slug: str
    latitude: float
    longitude: float
    description: str = ""


def box_order(box_id: str) -> tuple[int, str]:
    """Returns a sort key that puts Box 2 before Box 10."""
    return len(box_id), box_id
