"""A service of the cloud as the record of its data folder names it: `opq_proto.kit.system_record`."""

from collections.abc import Sequence
from pathlib import Path

from opq_cloud.core.settings.config import CloudConfig
from opq_proto.kit import log
from opq_proto.kit.http_server import url_of
from opq_proto.kit.system_record import CLOUD, HEALTH, MeantService, forget_meant, note_meant

ONE_PER_STORE = ("event-service", "triggering-service", "mauka", "view", "notifications", "update")
"""A second one on the same store is refused."""
ONE_PER_FOLDER = ("triggering-broker", "acquisition-broker", HEALTH)
"""They need no store; a second one in the same data folder is refused."""
WHOLE = ("all", "all-but-brokers")
"""Commands that run a whole cloud in one process; of the second, the brokers are processes of their own."""


def meant_service(command: str, config: CloudConfig, port_offset: int = 0) -> MeantService:
    """Returns the service of `opq-cloud COMMAND`, with the address of its health in a configuration whose
    addresses were moved by `port_offset`."""
    if command in WHOLE:
        return MeantService(CLOUD, url_of(config.health.whole_endpoint), port_offset)
    if command == "view":
        return MeantService(command, url_of(config.view.http_endpoint, "/health"), port_offset)
    section = getattr(config, command.replace("-", "_"))
    own = section.http_endpoint if command in (HEALTH, "update") else section.health_endpoint
    return MeantService(command, url_of(own), port_offset)


def note_running(service: MeantService, data_dir: Path, single: Sequence[str]) -> None:
    """Notes a service that runs now; with it, it takes out those that cannot run on the same store.

    `single`: the services of this process.
    """
    try:
        note_meant(data_dir, [service])
        if service.name == CLOUD or service.name in ONE_PER_STORE:
            forget_meant(data_dir, single if service.name == CLOUD else [CLOUD])
    except OSError as error:  # it serves without a record
        log.get().warning("system.not_noted", error=str(error))
