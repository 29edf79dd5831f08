"""The MQTT client of a broker's section: its time limit, login and TLS, for gateway and notifications.

It asks for paho-mqtt, which `gateway` and `cloud` install.
"""

import ssl

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from opq_proto.config.mqtt_section import MqttBrokerSection
from opq_proto.kit.port_owner import checked_before_login


def mqtt_client(section: MqttBrokerSection, timeout_s: float, client_id: str = "") -> paho.Client:
    """A client that is not connected, and that does not connect again by itself.

    Args:
        client_id: name at the broker; empty: the broker gives one.
    Raises:
        OSError: the password or the certificates cannot be read.
    """
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False)
    client.connect_timeout = timeout_s
    if section.user:
        password = None
        if section.password_file is not None:
            password = section.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        client.username_pw_set(section.user, password)
    if section.tls:
        cafile = None if section.ca_file is None else str(section.ca_file)
        client.tls_set_context(ssl.create_default_context(cafile=cafile))
    elif section.user:
        client.on_socket_open = checked_before_login(section.host or "", section.port)
    return client
