"""In this repository the HIL tests build what they run: firmware of both boards, once (cached)."""

from collections.abc import Mapping

import pytest

from opq_hil.firmware import Firmware
from opq_proto.errors import OpqError


@pytest.fixture(scope="session")
def hil_firmware(request: pytest.FixtureRequest) -> Mapping[str, Firmware]:
    """Firmware of both boards, built from this tree unless --hil-firmware or OPQ_FIRMWARE_DIR names some."""
    from opq_tools.built_firmware import firmware_for

    try:
        return firmware_for(request.config.getoption("--hil-firmware"))
    except OpqError as error:
        pytest.skip(str(error))
