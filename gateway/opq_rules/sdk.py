"""`opq_plugins.sdk` by the name that plug-ins import which were written before it was a room of its own."""

import sys

from opq_plugins import sdk

sys.modules[__name__] = sdk
