"""A service of the cloud as the record of its data folder names it: `opq_proto.kit.system_record`."""

from collections.abc import Sequence
from pathlib import Path

from opq_cloud.core.settings.config import CloudConfig
from opq_proto.kit import log
from opq_proto.kit.http_server import url_of
from opq_proto.kit.system_record import CLOUD, HEALTH, MeantService, forget_meant, note_meant, read_record

ONE_PER_STORE = ("event-service", "triggering-service", "mauka", "view", "notifications", "update")
"""A second one on the same store is refused."""
ONE_PER_FOLDER = ("triggering-broker", "acquisition-broker", HEALTH)
"""They need no store; a second one in the same data folder is refused."""
WHOLE = ("all", "all-but-brokers")
"""Commands that run a whole cloud in one process; of the second, the brokers are processes of their own."""


def meant_service(
    command: str, config: CloudConfig, port_offset: int = 0, left_out: Sequence[str] = ()
) -> MeantService:
    """Returns the service of `opq-cloud COMMAND`, with the address of its health in a configuration whose
    addresses were moved by `port_offset`.

    `left_out`: the services that a whole cloud does not run.
    """
    if command in WHOLE:
        endpoint = url_of(config.health.whole_endpoint)
        return MeantService(CLOUD, endpoint, port_offset, left_out=tuple(left_out))
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
        if service.name == CLOUD:
            forget_meant(data_dir, single)
        elif service.name in ONE_PER_STORE:
            meant = read_record(data_dir).services
            whole = [each.name for each in meant if each.name == CLOUD and service.name not in each.left_out]
            forget_meant(data_dir, whole)
    except OSError as error:  # it serves without a record
        log.get().warning("system.not_noted", error=str(error))
