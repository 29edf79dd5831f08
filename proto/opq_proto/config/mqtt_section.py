"""The section of an MQTT broker, for gateway and notifications, which do not import each other."""

from pathlib import Path
from typing import Annotated

from opq_proto.config.reading import Field, section


@section
class MqttBrokerSection:
    """How an MQTT broker is reached, with Home Assistant's discovery."""

    host: Annotated[str | None, Field(description="name or address of the broker; none: no MQTT")] = None
    port: Annotated[int, Field(ge=1, le=65535, description="1883, with TLS 8883")] = 1883
    user: Annotated[str | None, Field(description="user name; none: without signing in")] = None
    password_file: Annotated[Path | None, Field(description="file that holds the password")] = None
    tls: Annotated[bool, Field(description="use TLS")] = False
    ca_file: Annotated[
        Path | None, Field(description="certificates to trust, PEM; none: those of the system")
    ] = None
    discovery: Annotated[
        str, Field(pattern=r"^[^#+\s]*$", description="Home Assistant's prefix; empty: no discovery")
    ] = "homeassistant"
