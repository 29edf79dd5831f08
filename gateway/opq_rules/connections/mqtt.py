"""mqtt: a broker, and who we are there."""

import threading
from dataclasses import replace

from opq_rules.mqtt_client import Client, Login

Config = Login
USERS = frozenset({("sources", "mqtt"), ("sinks", "mqtt")})


def check(config: Login, wait_s: float) -> None:
    """Under a name of its own: a broker closes the older one of two clients with the same."""
    told = threading.Event()
    answers: list[tuple[bool, str]] = []

    def on_link(up: bool, why: str) -> None:
        answers.append((up, why))
        told.set()

    try:
        client = Client(replace(config, clientid=""), on_link=on_link)
        client.start(wait_s)
    except OSError as error:
        raise ConnectionError(f"{config.server}: {error.strerror or error}") from error
    try:
        if not told.wait(wait_s):
            raise TimeoutError(f"{config.server}: it did not answer within {wait_s:g} s")
    finally:
        client.stop()
    up, why = answers[0]
    if not up:
        raise ConnectionError(f"{config.server}: {why}")
