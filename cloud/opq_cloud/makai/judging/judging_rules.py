"""The stream-rule engine inside the triggering service.

Every Measurement is a row for sources of type `opqbox`; a rule's `request_waveform` becomes a Decision, which
opens an event as a trigger plug-in's does. The engine has its own threads, so that slow rules lose counted
rows and do not delay a trigger."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.core.settings.makai_settings import CloudRulesSection
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_plugins.policy import network_setting
from opq_proto.decision import NS_PER_MS, Decision
from opq_proto.errors import ConfigError
from opq_proto.kit.channel import Channel
from opq_proto.kit.system_place import default_data_dir
from opq_proto.messages import Measurement

try:
    from opq_rules.api import rules_config
    from opq_rules.api.rules_service import RulesService
    from opq_rules.box_sources import box_sources
    from opq_rules.feeds.local_feed import LocalFeed
    from opq_rules.sinks.request_waveform import Request, Sink
    from opq_rules.sources import opqmauka
except ImportError as error:
    raise ConfigError(
        f"triggering_service.rules.enabled needs packages that are not installed ({error.name});"
        " pip install 'opq-toolkit[rules]', or set it to false"
    ) from error

TRIGGER = "trigger"
REQUESTS_WAITING = 1000
"""Limit of requests waiting for the service's loop; a sink that finds no room tries again."""
RULES_NAMED = 10
"""Rules in a line of health."""


class RuleHost:
    """Runs from its making until `close`."""

    def __init__(
        self,
        config: CloudRulesSection,
        data_dir: Path | None,
        counters: ServiceCounters,
        triggers: TriggersInUse,
        bus_endpoint: str | None = None,
        private: Sequence[Path] = (),
        config_files: Sequence[Path] = (),
    ) -> None:
        """`triggers` has the plug-ins installed in the engine's host until `close`.

        `private`: folders in which no rule reads or writes. `config_files`: for errors.
        `bus_endpoint`: where streams of type `opqmauka` read Mauka's bus, unless they have a `url`.

        Raises:
            PortBusyError, ConfigError, RuleError: the address or the folder cannot be used.
        """
        self._counters, self._lost = counters, 0
        self._feed: LocalFeed[Measurement] = LocalFeed("rules", config.queue_rows)
        self._requests: Channel[Request] = Channel("rule requests", REQUESTS_WAITING, "refuse")
        settings = rules_config.checked(
            rules_config.Config(
                data_dir=config.data_dir or data_dir or default_data_dir(),
                endpoint=config.http_endpoint,
                token_file=config.token_file,
                file_roots=config.file_roots,
                private_networks=config.private_networks,
                plugins=config.plugins,
            )
        )
        own: dict[tuple[str, str], Callable[[], object]] = {
            **box_sources(self._feed),
            ("source", "opqmauka"): partial(opqmauka.Source, bus_endpoint),
            ("sink", "request_waveform"): partial(Sink, self._requests.offer),
        }
        self._service = RulesService(
            settings,
            own=own,
            private=private,
            network_place=network_setting("triggering_service.rules.plugins", config_files),
        )
        self.port = self._service.port
        self._triggers = triggers
        plugins, engine = self._service.plugins, self._service.engine
        plugins.used_by = lambda kind, symbol: () if kind == TRIGGER else engine.users_of(kind, symbol)
        plugins.on_change = self._changed
        plugins.reserved |= triggers.reserved
        self._service.start()
        try:
            triggers.follow(plugins)
        except BaseException:
            self.close()
            raise

    @property
    def wants_measurements(self) -> bool:
        """Whether a rule reads Measurements."""
        return self._feed.wanted

    def offer_measurement(self, measurement: Measurement) -> None:
        """Passes a Measurement to the rules; never blocks."""
        self._feed.offer(measurement)

    def decisions(self) -> Iterator[tuple[Measurement, Decision]]:
        """Yields rules' requests: the Box and its span, as a Measurement without values, and the reason."""
        if self._feed.dropped > self._lost:
            lost, self._lost = self._feed.dropped - self._lost, self._feed.dropped
            self._counters.add("rules_dropped", lost)
        for request in self._requests.take_all(REQUESTS_WAITING):
            self._counters.add("rule_requests", label=request.rule_id)
            yield (
                _measurement_of(request),
                Decision(request.metric or "rule", request.value, 0.0, request.because),
            )

    def health(self) -> HealthReport:
        views = self._service.engine.views
        totals, failed = views.totals(), views.failed()
        info = f"{totals['rules']} rules, {totals['rules_running']} running"
        if failed:
            info += f"; stopped by an error: {', '.join(failed[:RULES_NAMED])}"
        for rule_id, why in list(views.not_allowed().items())[:RULES_NAMED]:
            info += f"; rule {rule_id}: {why}"
            failed = [*failed, rule_id]
        return HealthReport("rules", not failed, info=info)

    def close(self) -> None:
        self._triggers.unfollow()
        self._service.stop()

    def _changed(self, kind: str, symbol: str) -> None:
        if kind == TRIGGER:
            self._triggers.changed()
        else:
            self._service.engine.plugin_changed(kind, symbol)


def _measurement_of(request: Request) -> Measurement:
    return Measurement(
        box_id=request.box_id,
        timestamp_ms=request.end_ns // NS_PER_MS,
        metrics={},
        start_ns=request.start_ns,
        end_ns=request.end_ns,
    )
