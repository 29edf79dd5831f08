"""Where the brokers find their keys: contracts.md's tree, or an original configuration's paths."""

from pathlib import Path

from opq_cloud.config import Keys
from opq_proto.keys import KeyFolder


class CloudKeys(KeyFolder):
    """The tree, with the server's file or the Boxes' folder elsewhere if the configuration says so."""

    def __init__(self, config: Keys, data_dir: Path) -> None:
        super().__init__(config.folder or data_dir / "curve")
        self._config = config

    @property
    def server_secret(self) -> Path:
        return self._config.server_secret or super().server_secret

    @property
    def public_keys(self) -> Path:
        return self._config.public_keys or super().public_keys
