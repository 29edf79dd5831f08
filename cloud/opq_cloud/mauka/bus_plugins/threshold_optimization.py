"""ThresholdOptimizationPlugin: a ThresholdOptimizationRequest becomes the limits that Makai triggers by.

The original's plug-in of this name (docs/reference/opq-interop.md E.3): every field above 0 replaces its
value, of all Boxes or of the one that `box_id` names, whose limits begin with those of all; 0 leaves it.
Makai follows within 2 s.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.store.documents.makai_documents import MakaiConfig, TriggeringLimits
from opq_cloud.store.store import CloudStore
from opq_proto.kit import log as logs
from opq_proto.wire.mauka_pb2 import MaukaMessage, ThresholdOptimizationRequest

log = logs.get(service="mauka")

THRESHOLD_OPTIMIZATION_REQUEST = "ThresholdOptimizationRequest"
FIELDS = {
    "ref_hz": "ref_f",
    "ref_v": "ref_v",
    "percent_hz_low": "threshold_percent_f_low",
    "percent_hz_high": "threshold_percent_f_high",
    "percent_v_low": "threshold_percent_v_low",
    "percent_v_high": "threshold_percent_v_high",
    "percent_thd_high": "threshold_percent_thd_high",
}
"""Field of TriggeringLimits -> field of the request; those of all Boxes have the prefix `default_`."""


class ThresholdOptimizationPlugin(MaukaPlugin):
    """Counters: `requests` by whether they changed anything, and the base's."""

    NAME = "ThresholdOptimizationPlugin"

    def __init__(self, config: PluginConfig, store: Callable[[], CloudStore]) -> None:
        super().__init__(config, [THRESHOLD_OPTIMIZATION_REQUEST], ThresholdOptimizationPlugin.NAME)
        self._store = store

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        """Reads `makai_config`, changes it, writes it."""
        if mauka_message.WhichOneof("message") != "threshold_optimization_request":
            self.counters.add("malformed")
            return
        request, store = mauka_message.threshold_optimization_request, self._store()
        before = store.makai_config()
        after = with_request(before, request)
        changed = after != before
        if changed:
            store.put_makai_config(after)
        self.counters.add("requests", label="changed" if changed else "same")
        log.info("limits.requested", box_id=request.box_id or None, changed=changed)


def with_request(config: MakaiConfig | None, request: ThresholdOptimizationRequest) -> MakaiConfig | None:
    """Returns the limits after a request; None: there were none, and it changes nothing."""
    before = MakaiConfig(TriggeringLimits()) if config is None else config
    default = _with_values(before.default, request, "default_")
    overrides = dict(before.overrides)
    if request.box_id:
        own = overrides.get(request.box_id, default)
        changed = _with_values(own, request, "")
        if changed != own:
            overrides[request.box_id] = changed
    if default == before.default and overrides == dict(before.overrides):
        return config
    return replace(before, default=default, overrides=overrides, problems=(), limited=True)


def _with_values(
    limits: TriggeringLimits, request: ThresholdOptimizationRequest, prefix: str
) -> TriggeringLimits:
    values = {name: float(getattr(request, prefix + of)) for name, of in FIELDS.items()}
    return replace(
        limits, **{name: value for name, value in values.items() if value > 0 and math.isfinite(value)}
    )
