"""EdgeRules: the rule engine in the gateway's process, on its own threads.

Sources `opqbox` read measured values here, without a socket. `request_waveform` sends its request to Makai as
a crossing Measurement with a metric `rule_<id>`, which waits on disk like any other.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from opq_gateway.config import Config, data_folder, key_folder
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import DisturbanceNotice, Item, MeasuredFeed, Values
from opq_gateway.serial_side.outputs import Outputs
from opq_plugins.policy import network_setting
from opq_proto.errors import ConfigError
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.time_units import NS_PER_MS

try:
    from opq_gateway.rules.gateway_streams import EDGE_COLUMNS, SampleTap, rows_of
    from opq_gateway.rules.wave_publisher import WavePublisher
    from opq_rules.api import rules_config
    from opq_rules.api.rules_service import RulesService
    from opq_rules.box_sources import box_sources
    from opq_rules.feeds.local_feed import LocalFeed
    from opq_rules.feeds.wave_windows import WavePiece
    from opq_rules.sinks.request_waveform import Request, Sink
    from opq_rules.sources import opqwave
except ImportError as error:
    raise ConfigError(
        f"rules.enabled  needs packages that are not installed ({error.name});"
        " pip install 'opq-toolkit[gateway,rules]', or set it to false"
    ) from error

POLL_S = 0.1
ITEMS_WAITING = 5000
Send = Callable[[str, Measurement], None]


class EdgeRules:
    """Answers REST from construction on; rows flow while `run` runs."""

    def __init__(
        self,
        config: Config,
        feed: MeasuredFeed,
        statuses: Mapping[str, BoxStatus],
        counters: BoxCounters,
        send: Send,
        config_file: Path | None = None,
    ) -> None:
        """
        Args:
            send: sends a Measurement at once, from any thread.
            config_file: the file of `config`, for errors.

        Raises:
            PortBusyError, ConfigError, RuleError: the address or the folder cannot be used.
        """
        wanted = config.rules
        self._statuses, self._counters, self._send = statuses, counters, send
        self._channel = feed.subscribe("rules", (Values, DisturbanceNotice), ITEMS_WAITING)
        self._measured: LocalFeed[Item] = LocalFeed("rules")
        self._waves: LocalFeed[WavePiece] = LocalFeed("waves")
        self._crossings: LocalFeed[Measurement] = LocalFeed("crossings")
        self._lost = self._refused = self._windows_refused = 0
        self._windows = (
            None if wanted.windows_endpoint is None else WavePublisher(wanted.windows_endpoint, self._waves)
        )
        settings = rules_config.checked(
            rules_config.Config(
                data_dir=wanted.data_dir or data_folder(config),
                endpoint=wanted.endpoint or "",
                token_file=wanted.token_file,
                file_roots=wanted.file_roots,
                private_networks=wanted.private_networks,
                plugins=wanted.plugins,
            )
        )
        own: dict[tuple[str, str], Callable[[], Any]] = {
            **box_sources(self._measured, self._crossings, rows_of, EDGE_COLUMNS),
            ("source", "opqwave"): partial(opqwave.Source, self._waves),
            ("sink", "request_waveform"): partial(Sink, self._request_waveform),
        }
        assert config.data_dir is not None
        private = config.data_dir, key_folder(config).root
        self._service = RulesService(
            settings,
            own=own,
            private=private,
            system_dir=config.data_dir,
            network_place=network_setting("rules.plugins", [config_file] if config_file else ()),
        )
        self.port = self._service.port
        self._service.start()

    def with_samples_from(self, outputs: Outputs) -> Outputs:
        """The same outputs, passing raw samples also to the rules."""
        return SampleTap(outputs, self._waves, self._crossings, self._statuses)

    def run(self, stop: threading.Event) -> None:
        """Passes measured items to the rules until `stop`."""
        while not stop.is_set():
            items = self._channel.take_all(timeout_s=POLL_S)
            if self._measured.wanted:
                for item in items:
                    self._measured.offer(item)
            if self._windows is not None:
                self._windows.send()
                if (refused := self._windows.refused) > self._windows_refused:
                    self._counters.add("windows_refused", refused - self._windows_refused)
                    self._windows_refused = refused
            if (refused := self._service.plugins.unconfined_refused) > self._refused:
                self._counters.add("plugins_unconfined", refused - self._refused)
                self._refused = refused
            lost = self._channel.dropped + self._measured.dropped + self._waves.dropped
            lost += self._crossings.dropped
            if lost > self._lost:
                self._counters.add("rules_dropped", lost - self._lost)
                self._lost = lost
        if self._windows is not None:
            self._windows.close()  # in the thread that uses its socket

    def close(self) -> None:
        self._service.stop()

    def _request_waveform(self, request: Request) -> bool:
        """Sends a request to Makai, from a sink's thread. ValueError: no such Box here."""
        status = self._statuses.get(request.box_id)
        if status is None:
            raise ValueError(
                f"Box {request.box_id} is not connected to this gateway; there are "
                f"{', '.join(self._statuses)}"
            )
        self._counters.add("rule_requests")
        self._send(request.box_id, measurement_of(request, status))
        return True


def measurement_of(request: Request, status: BoxStatus) -> Measurement:
    """The Measurement for Makai's trigger `edge_rule`; original readers skip its metric."""
    hello = status.hello
    return Measurement(
        box_id=request.box_id,
        timestamp_ms=(request.end_ns + NS_PER_MS // 2) // NS_PER_MS,
        metrics={f"rule_{request.rule_id}": Metric(request.value, request.value, request.value)},
        start_ns=request.start_ns,
        end_ns=request.end_ns,
        uncertainty_ns=status.sample_uncertainty_ns,
        source=TimeSource.FREE if status.sample_source is None else status.sample_source,
        crossing=True,
        nominal_v=None if hello is None else hello.nominal_v,
        nominal_hz=None if hello is None else hello.nominal_hz,
    )
