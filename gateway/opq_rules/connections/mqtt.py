"""mqtt: a broker, and who we are there."""

from dataclasses import replace

from opq_rules.mqtt_client import Client, Login

Config = Login
USERS = frozenset({("sources", "mqtt"), ("sinks", "mqtt")})


def check(config: Login, wait_s: float) -> None:
    """Under a name of its own: a broker closes the older one of two clients with the same."""
    try:
        client = Client(replace(config, clientid=""))
    except OSError as error:  # of TLS
        raise ConnectionError(f"{config.server}: {error.strerror or error}") from error
    client.start(wait_s)
    client.stop()
