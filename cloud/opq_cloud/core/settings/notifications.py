"""The `[notifications]` section of the cloud's configuration; mails go through `[view.mail]`."""

from typing import Annotated

from opq_proto.config.mqtt_section import MqttBrokerSection
from opq_proto.config.reading import Field, section


@section
class NotificationMqttSection(MqttBrokerSection):
    """The broker for notifications by MQTT."""

    topic: Annotated[
        str, Field(pattern=r"^[^+#/\s][^+#\s]*$", description="prefix of topics, before account and rule")
    ] = "opq/notifications"


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
    health_s: Annotated[float, Field(ge=0.1, le=3600, description="interval at which health is read")] = 3.0
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
