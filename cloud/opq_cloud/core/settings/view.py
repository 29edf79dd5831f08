"""Sections of View: `[view]`, and below it mail, rule engines to administer."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from opq_proto.config.reading import Field, Why, section
from opq_proto.kit.ports import HOST_PORT, PORT_PATTERN, WEB_ADDRESS


@section
class MailSection:
    """The SMTP server for invitations, new passwords and notifications."""

    server: Annotated[
        str | None,
        Field(
            pattern=HOST_PORT,
            examples=["mail.example.org:587"],
            description="host:port; none: no mail is sent",
        ),
        Why("Set it so that invitations, new passwords and notifications reach people."),
    ] = None
    security: Annotated[
        Literal["starttls", "tls", "none"],
        Field(description="protection of the connection"),
        Why("Set `tls` for port 465, and `none` only for a server on this machine."),
    ] = "starttls"
    sender: Annotated[
        str,
        Field(description="sender (From) of the mails"),
        Why("Set an address of your domain, because servers refuse others."),
    ] = "OPQ View <opq@localhost>"
    user: Annotated[
        str | None,
        Field(description="user name; none: without signing in to the server"),
        Why("Set it where the server requires a sign-in."),
    ] = None
    password_file: Annotated[
        Path | None,
        Field(description="file with the user's password, mode 0600"),
        Why("Set it with `user`, so that no password is in the configuration."),
    ] = None


@section
class RuleEngineEntry:
    """One `[[view.rule_engines]]`: the pages of administration show and change its plug-ins and rules."""

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_-]{1,40}$", examples=["north"], description="name on the pages"),
        Why("Choose a name that people know, because the pages show it."),
    ]
    url: Annotated[
        str,
        Field(
            pattern=WEB_ADDRESS,
            examples=["http://127.0.0.1:9081"],
            description="address of its REST, e.g. http://127.0.0.1:9081",
        ),
        Why("Set the address where this engine listens."),
    ]
    token_file: Annotated[
        Path | None,
        Field(description="file with its token; none: the one that an engine of this machine names"),
        Why("Set it where the engine is on another machine."),
    ] = None


@section
class ViewSection:
    http_endpoint: Annotated[
        str,
        Field(description="the pages and REST; beyond 127.0.0.1 for other machines"),
        Why("Set an address beyond loopback, such as 0.0.0.0:8888, for people elsewhere."),
    ] = "127.0.0.1:8888"
    measurement_endpoint: Annotated[
        str,
        Field(description="the triggering broker's backend_endpoint"),
        Why("Change it where the broker has another address."),
    ] = "ipc://measurements"
    bus_endpoint: Annotated[
        str,
        Field(description="Mauka's bus, topic incident"),
        Why("Change it where Mauka's bus has another address."),
    ] = "ipc://bus-out"
    poll_s: Annotated[
        float,
        Field(gt=0, le=60, description="interval at which the store is read, in addition to the bus"),
        Why("Raise it on a slow store, at the price of as late a change where the bus lost a message."),
    ] = 1.0
    live_streams: Annotated[
        int,
        Field(
            ge=1, le=100_000, description="live feeds open at once; whoever has most gives one to a newcomer"
        ),
        Why("Raise it for more open pages, each of which takes about 100 kB."),
    ] = 600
    allowed_hosts: Annotated[
        tuple[str, ...],
        Field(description="allowed host names in addresses, besides loopback; * for all"),
        Why("Name the host that people type, or the proxy's, because other names are refused."),
    ] = ()
    sign_in: Annotated[
        Literal["beyond_loopback", "always", "never"],
        Field(
            description="who must sign in: everybody once there is an account, before that users of "
            "another machine; always; or never, behind a proxy that checks itself"
        ),
        Why(
            "Set `always` on a machine that several people use, and `never` behind a proxy that "
            "checks visitors."
        ),
    ] = "beyond_loopback"
    registration: Annotated[
        Literal["closed", "invitation", "open"],
        Field(description="who may make an account"),
        Why(
            "Set `open` for a public project with a mail server, which sends a link to prove each e-mail, "
            "and `closed` where no further account is to be made."
        ),
    ] = "invitation"
    public_url: Annotated[
        str | None,
        Field(
            pattern=rf"^https?://(\[[0-9A-Fa-f:.]+\]|[^\s/:?#@\[\]]+)(:{PORT_PATTERN})?(/[A-Za-z0-9._~-]+)*/?$",
            examples=["https://pq.example.org", "https://example.org/opq"],
            description="address for people, used in mails; with https, secure cookies; with a path, "
            "View is below that path of a site",
        ),
        Why("Set it before mails are sent, because their links begin with it."),
    ] = None
    map_radius_km: Annotated[
        float,
        Field(ge=0.1, le=100, description="least distance of a public Box from its shown place"),
        Why("Raise it in the country, where a place near a house still reveals the house."),
    ] = 2.0
    tile_url: Annotated[
        str | None,
        Field(
            pattern=rf"^https?://[A-Za-z0-9.-]+(:{PORT_PATTERN})?/[^\s'\"<>;,]*$",
            examples=["https://tile.example.org/{z}/{x}/{y}.png"],
            description="map tiles, with {z}, {x} and {y}; none: outlines only",
        ),
        Why("Set it for streets and names on the map, from a server that may see who looks at it."),
    ] = None
    tile_attribution: Annotated[
        str,
        Field(max_length=200, description="credit of the tiles' owner, shown below the map"),
        Why("Set it to the credit that the tile server requires."),
    ] = ""
    recording_mb: Annotated[
        int,
        Field(
            ge=1,
            le=1_000,
            description="largest recording that a visitor may send to /examine, MB; its process may take 48 "
            "MB of memory for each of them, 3 GB at least",
        ),
        Why("Raise it for recordings of long campaigns, and lower it on a machine with little memory."),
    ] = 64
    mail: MailSection = Field(default_factory=MailSection)
    rule_engines: Annotated[
        tuple[RuleEngineEntry, ...],
        Field(description="rule engines on the pages of administration; none: Makai's, without token"),
    ] = ()

    @property
    def address(self) -> str | None:
        """`public_url` without a slash at its end."""
        return self.public_url.rstrip("/") if self.public_url else None

    @property
    def base_path(self) -> str:
        """The path of `public_url`, such as `/opq`; empty without one."""
        return urlsplit(self.address or "").path
