"""The `[notifications]` section of the cloud's configuration; mails go through `[view.mail]`."""

from pathlib import Path
from typing import Annotated

from opq_proto.config.reading import Field, section


@section
class NotificationMqttSection:
    """The broker for notifications by MQTT, with Home Assistant's discovery."""

    host: Annotated[str | None, Field(description="host of the broker; none: no notification by MQTT")] = None
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    user: Annotated[str | None, Field(description="user name; none: without signing in")] = None
    password_file: Annotated[Path | None, Field(description="file with the user's password")] = None
    tls: Annotated[bool, Field(description="use TLS, usually with port 8883")] = False
    ca_file: Annotated[
        Path | None, Field(description="certificates to trust, PEM; none: those of the system")
    ] = None
    topic: Annotated[
        str, Field(pattern=r"^[^+#/\s][^+#\s]*$", description="prefix of topics, before account and rule")
    ] = "opq/notifications"
    discovery: Annotated[
        str, Field(pattern=r"^[^+#\s]*$", description="Home Assistant's prefix; empty: no discovery")
    ] = "homeassistant"


@section
class NotificationsSection:
    bus_endpoint: Annotated[str, Field(description="Mauka's bus, topic incident")] = "tcp://127.0.0.1:9883"
    watched_endpoint: Annotated[
        str, Field(description="health page with the state of Boxes and services")
    ] = "127.0.0.1:8911"
    http_endpoint: Annotated[
        str, Field(description="address of POST /notify for rows of rules, with an account's token")
    ] = "127.0.0.1:8917"
    health_endpoint: Annotated[
        str, Field(description="health of `opq-cloud notifications` when it runs alone")
    ] = "127.0.0.1:8918"
    poll_s: Annotated[
        float, Field(ge=0.05, le=60, description="interval at which the store and due messages are read")
    ] = 1.0
    health_s: Annotated[float, Field(ge=0.1, le=3600, description="interval at which health is read")] = 10.0
    kept_days: Annotated[
        int, Field(ge=1, le=3650, description="age up to which lines of the log are kept")
    ] = 30
    claim_s: Annotated[
        float,
        Field(ge=0.1, le=3600, description="time until a delivery is tried again if its process ended"),
    ] = 60.0
    private_hosts: Annotated[
        tuple[str, ...],
        Field(description="webhook hosts allowed in a private network or on this machine"),
    ] = ()
    mqtt: NotificationMqttSection = Field(default_factory=NotificationMqttSection)
