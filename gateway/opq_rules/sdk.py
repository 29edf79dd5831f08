"""`opq_plugins.sdk` under its former name, for older plug-ins."""

import sys

from opq_plugins import sdk

sys.modules[__name__] = sdk
