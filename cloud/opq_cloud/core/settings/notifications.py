"""The `[notifications]` section of the cloud's configuration; mails go through `[view.mail]`."""

from typing import Annotated

from opq_proto.config.mqtt_section import MqttBrokerSection
from opq_proto.config.reading import Field, Why, section


@section
class NotificationMqttSection(MqttBrokerSection):
    """The broker for notifications by MQTT."""

    topic: Annotated[
        str,
        Field(
            pattern=r"^[^+#/\s][^+#\s]*$",
            examples=["opq/notify"],
            description="prefix of topics, before account and rule",
        ),
        Why("Change it where several systems share a broker."),
    ] = "opq/notifications"


@section
class NotificationsSection:
    bus_endpoint: Annotated[
        str,
        Field(description="Mauka's bus, topic incident"),
        Why("Change it where Mauka's bus has another address."),
    ] = "ipc://bus-out"
    watched_endpoint: Annotated[
        str,
        Field(description="health page with the state of Boxes and services"),
        Why("Change it where the health of the system has another address."),
    ] = "127.0.0.1:8911"
    http_endpoint: Annotated[
        str,
        Field(description="address of POST /notify for rows of rules, with an account's token"),
        Why("Set it beyond loopback where rules of other machines post to it."),
    ] = "127.0.0.1:8917"
    health_endpoint: Annotated[
        str,
        Field(description="health of `opq-cloud notifications` when it runs alone"),
        Why("Change it where another program has the port, or monitoring is on another machine."),
    ] = "127.0.0.1:8918"
    poll_s: Annotated[
        float,
        Field(ge=0.05, le=60, description="interval at which the store and due messages are read"),
        Why("Raise it on a slow store, at the price of as late a message."),
    ] = 1.0
    health_s: Annotated[
        float,
        Field(ge=0.1, le=3600, description="interval at which health is read"),
        Why("Raise it to ask less often, at the price of as late a message about a silent Box."),
    ] = 3.0
    kept_days: Annotated[
        int,
        Field(ge=1, le=3650, description="age up to which lines of the log are kept"),
        Why("Raise it where somebody must show later that a message was sent."),
    ] = 30
    claim_s: Annotated[
        float,
        Field(ge=0.1, le=3600, description="time until a delivery is tried again if its process ended"),
        Why("Raise it where a mail server takes longer than this to accept a message."),
    ] = 60.0
    private_hosts: Annotated[
        tuple[str, ...],
        Field(description="webhook hosts allowed in a private network or on this machine"),
        Why("Name a host of your own network that a webhook may reach, because others are refused."),
    ] = ()
    mqtt: NotificationMqttSection = Field(default_factory=NotificationMqttSection)
