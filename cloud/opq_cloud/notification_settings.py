"""The `[notifications]` section of the cloud's configuration; mails go through `[view.mail]`."""

from pathlib import Path
from typing import Annotated

from opq_proto.config import Field, section


@section
class NotificationMqttSection:
    """The broker for notifications by MQTT, with Home Assistant's discovery."""

    host: Annotated[str | None, Field(description="of the broker; none: no notification by MQTT")] = None
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    user: Annotated[str | None, Field(description="none: without signing in")] = None
    password_file: Annotated[Path | None, Field(description="holds the user's password")] = None
    tls: Annotated[bool, Field(description="usually with port 8883")] = False
    ca_file: Annotated[Path | None, Field(description="PEM; none: the system's")] = None
    topic: Annotated[str, Field(pattern=r"^[^+#/\s][^+#\s]*$", description="before account and rule")] = (
        "opq/notifications"
    )
    discovery: Annotated[
        str, Field(pattern=r"^[^+#\s]*$", description="Home Assistant's prefix; empty: no discovery")
    ] = "homeassistant"


@section
class NotificationsSection:
    bus_endpoint: Annotated[str, Field(description="Mauka's bus, topic incident")] = "tcp://127.0.0.1:9883"
    watched_endpoint: Annotated[
        str, Field(description="whose health says which Boxes and services are well")
    ] = "127.0.0.1:8911"
    http_endpoint: Annotated[
        str, Field(description="POST /notify: rows of stream rules, with a token of an account")
    ] = "127.0.0.1:8917"
    health_endpoint: Annotated[str, Field(description="of `opq-cloud notifications`, alone")] = (
        "127.0.0.1:8918"
    )
    poll_s: Annotated[
        float, Field(ge=0.05, le=60, description="of the store, beside the bus, and of what is due")
    ] = 1.0
    health_s: Annotated[float, Field(ge=0.1, le=3600, description="health is asked every")] = 10.0
    kept_days: Annotated[int, Field(ge=1, le=3650, description="lines of the log")] = 30
    claim_s: Annotated[
        float,
        Field(ge=0.1, le=3600, description="a try that ended with its process is made again after so long"),
    ] = 60.0
    private_hosts: Annotated[
        tuple[str, ...],
        Field(description="names or addresses of webhooks that may be private or of this machine"),
    ] = ()
    mqtt: NotificationMqttSection = Field(default_factory=NotificationMqttSection)
