"""The update server, made from the cloud's configuration.

Not part of `update_service.py`, which needs cryptography; a cloud without updates may lack it.
"""

from opq_cloud.core.service import CloudContext, CloudService
from opq_cloud.core.settings.config import CloudConfig
from opq_proto.errors import OpqError
from opq_proto.kit.system_place import default_data_dir


def services(config: CloudConfig, context: CloudContext) -> list[CloudService]:
    """Makes the update server; none without D/updates.

    Raises OpqError where the extra `update` is not installed.
    """
    data_dir = config.data_dir or default_data_dir()
    if not (data_dir / "updates").is_dir():
        return []
    try:
        from opq_cloud.update.update_service import UpdateService
    except ModuleNotFoundError as error:
        raise OpqError(f"update needs {error.name}: pip install 'opq-toolkit[update]'") from error
    return [UpdateService(config, context, data_dir)]
