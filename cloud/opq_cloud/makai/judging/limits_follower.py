"""Follows the document `makai_config` in the store: limits of each Box, and settings of triggers.

A thread reads it every second, so that a slow or absent store does not delay a Measurement. While the store
is absent, the last values stay in force. The original differs: it reads the document every 60 s, ends where
the document is absent, and continues to use an override that was removed (docs/reference/opq-interop.md A.11,
H.17, H.18)."""

from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.store.documents.makai_documents import MakaiConfig, TriggeringLimits
from opq_cloud.store.store import CloudStore
from opq_proto.errors import StoreError
from opq_proto.kit.log import BoundLogger
from opq_proto.kit.own_thread import PeriodicCall
from opq_proto.kit.rate_limit import RateLimitedLog

READ_S = 1.0
ALL = "*"
"""As in the trigger's `boxes`: every Box without limits of its own."""


class LimitsFollower:
    """Runs between `start` and `close` in a thread of its own; `config` is replaced as a whole."""

    def __init__(self, counters: ServiceCounters, log: BoundLogger) -> None:
        self.config: MakaiConfig | None = None
        """A new object when it changes."""
        self._counters = counters
        self._log = log
        self._limited = RateLimitedLog(log)
        self._reading: PeriodicCall | None = None

    def start(self, store: CloudStore) -> None:
        """Reads it once, then follows it. Raises StoreError."""
        self._use(store.makai_config())
        self._reading = PeriodicCall("makai-config", lambda: self._read(store), READ_S)
        self._reading.start()

    def close(self) -> None:
        if self._reading is not None:
            self._reading.close()

    def health(self) -> list[HealthReport]:
        """Returns a report only where the document exists; it names the entries that are invalid."""
        config = self.config
        if config is None:
            return []
        limits = f"limits of makai_config, {len(config.overrides)} overrides" if config.limited else ""
        settings = f"settings of {', '.join(config.triggers)}" if config.triggers else ""
        info = "; ".join(config.problems) or "; ".join(filter(None, (limits, settings)))
        return [HealthReport("makai_config", not config.problems, info=info[:1000])]

    def _read(self, store: CloudStore) -> None:
        try:
            self._use(store.makai_config())
        except StoreError as error:
            self._counters.add("store_errors")
            self._limited.warning("makai_config.not_read", error=str(error))

    def _use(self, config: MakaiConfig | None) -> None:
        if config == self.config:
            return
        self.config = config
        boxes = [] if config is None else sorted(config.overrides)
        problems = [] if config is None else list(config.problems)
        self._counters.add("makai_config_changes")
        self._log.info("makai_config.changed", there=config is not None, overrides=boxes, problems=problems)


def limits_of(config: MakaiConfig | None) -> dict[str, dict[str, float]]:
    """Returns the `boxes` of the threshold trigger's Config, by Box or ALL.

    In volts, hertz and as a ratio: low = reference * (1 - percent / 100) (docs/reference/opq-interop.md E.6).
    """
    if config is None or not config.limited:
        return {}
    return {
        ALL: _absolute(config.default),
        **{box_id: _absolute(limits) for box_id, limits in config.overrides.items()},
    }


def _absolute(limits: TriggeringLimits) -> dict[str, float]:
    return {
        "nominal_v": limits.ref_v,
        "nominal_hz": limits.ref_hz,
        "dip_v": limits.ref_v * (1 - limits.percent_v_low / 100),
        "swell_v": limits.ref_v * (1 + limits.percent_v_high / 100),
        "low_hz": limits.ref_hz * (1 - limits.percent_hz_low / 100),
        "high_hz": limits.ref_hz * (1 + limits.percent_hz_high / 100),
        "thd_ratio": limits.percent_thd_high / 100,
    }
