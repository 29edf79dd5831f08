"""Sections below `[view]`: mail, signing in by OpenID Connect, rule engines that its administration shows."""

from pathlib import Path
from typing import Annotated, Literal

from opq_proto.config import Field, section


@section
class MailSection:
    """The SMTP server for invitations, new passwords and notifications."""

    server: Annotated[
        str | None, Field(pattern=r"^\S+:\d{1,5}$", description="host:port; none: no mail is sent")
    ] = None
    security: Annotated[
        Literal["starttls", "tls", "none"], Field(description="protection of the connection")
    ] = "starttls"
    sender: Annotated[str, Field(description="sender (From) of the mails")] = "OPQ View <opq@localhost>"
    user: Annotated[str | None, Field(description="user name; none: without signing in to the server")] = None
    password_file: Annotated[Path | None, Field(description="file with the user's password, mode 0600")] = (
        None
    )


@section
class OpenIdSection:
    """Signing in by an OpenID Connect provider (extra "openid")."""

    issuer: Annotated[str, Field(description="address of the provider, as in its own description")]
    client_id: Annotated[str, Field(min_length=1, description="name of this View at the provider")]
    client_secret_file: Annotated[
        Path | None, Field(description="file with the client's secret, mode 0600; none: a public client")
    ] = None
    name: Annotated[str, Field(max_length=40, description="name of the provider on the page")] = (
        "OpenID Connect"
    )
    registers: Annotated[
        bool, Field(description="a first sign-in makes an account; else by invitation only")
    ] = False
    role: Annotated[
        Literal["viewer", "owner", "researcher"], Field(description="role of such an account")
    ] = "viewer"


@section
class RuleEngineEntry:
    """One `[[view.rule_engines]]`: the pages of administration show and change its plug-ins and rules."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$", description="name on the pages")]
    url: Annotated[
        str, Field(pattern="^https?://", description="address of its REST, e.g. http://127.0.0.1:9081")
    ]
    token_file: Annotated[Path | None, Field(description="file with its token, if it needs one")] = None
