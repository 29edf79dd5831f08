"""The section of an MQTT broker, for gateway and notifications, which do not import each other."""

from pathlib import Path
from typing import Annotated

from opq_proto.config.reading import Field, Why, section


@section
class MqttBrokerSection:
    """How an MQTT broker is reached, with Home Assistant's discovery."""

    host: Annotated[
        str | None,
        Field(
            pattern=r"^([^\s/:]+|[0-9A-Fa-f]*(:[0-9A-Fa-f.]*){2,7})$",
            examples=["broker.example.org"],
            description="name or address of the broker; none: no MQTT",
        ),
        Why("Set it to send values to a broker such as Mosquitto."),
    ] = None
    port: Annotated[
        int,
        Field(ge=1, le=65535, description="1883, with TLS 8883"),
        Why("Change it where the broker listens elsewhere."),
    ] = 1883
    user: Annotated[
        str | None,
        Field(description="user name; none: without signing in"),
        Why("Set it where the broker requires a sign-in."),
    ] = None
    password_file: Annotated[
        Path | None,
        Field(description="file that holds the password"),
        Why("Set it with `user`, so that no password is in the configuration."),
    ] = None
    tls: Annotated[
        bool, Field(description="use TLS"), Why("Set it where the broker is beyond a network that you trust.")
    ] = False
    ca_file: Annotated[
        Path | None,
        Field(description="certificates to trust, PEM; none: those of the system"),
        Why("Set it where the broker's certificate is signed by an authority of your own."),
    ] = None
    discovery: Annotated[
        str,
        Field(
            pattern=r"^[^#+\s]*$",
            examples=["homeassistant"],
            description="Home Assistant's prefix; empty: no discovery",
        ),
        Why(
            "Change it where Home Assistant has another prefix, and empty it where there is no "
            "Home Assistant."
        ),
    ] = "homeassistant"
