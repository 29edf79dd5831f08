"""What View has for all visitors: the whole store, the live hub, all Boxes, and the cloud's other services.

Pages read through `VisitorContext`, which shows only what their visitor may see; few take these services.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import ViewSection
from opq_cloud.operations.firmware_jobs import FirmwareJobs
from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_cloud.store.store import CloudStore
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.pages.recordings.recording_examiner import RecordingExaminer
from opq_cloud.view.pages.visible.availability import AvailabilityReader
from opq_cloud.view.pages.visible.registry import RegistryReader
from opq_cloud.view.web.gate import current_visitor
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.visitors import Visitor, Visitors
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.decision import Nominal
from opq_proto.keys.key_files import KeyFolder


@dataclass(slots=True)
class ViewServices:
    """One per View."""

    store: CloudStore
    hub: LiveHub
    counters: ServiceCounters
    visitors: Visitors
    mailer: Mailer
    nominal: Nominal = DEFAULT_NOMINAL
    """The grid's nominal values, for a Box without its own."""
    now_ns: Callable[[], int] = field(default=time.time_ns)
    keys: KeyFolder | None = None
    addresses: ServiceAddresses = field(default_factory=ServiceAddresses)
    registry: RegistryReader = field(init=False)
    availability: AvailabilityReader = field(init=False)
    firmware: FirmwareJobs = field(init=False)
    examiner: RecordingExaminer = field(init=False)

    def __post_init__(self) -> None:
        self.registry = RegistryReader(self.store, self.hub.forget_boxes)
        self.availability = AvailabilityReader(self.store, self.now_ns, recent=self.hub.recent)
        self.firmware = FirmwareJobs(
            self.addresses, self.store, None if self.keys is None else self.keys.administrator_secret
        )
        self.examiner = RecordingExaminer()

    @property
    def visitor(self) -> Visitor:
        """The visitor of the present request."""
        return current_visitor()

    @property
    def config(self) -> ViewSection:
        return self.visitors.config

    def box_ids(self) -> list[str]:
        """The ids of all Boxes that are stored or have sent data, sorted by number."""
        return self.registry.every_id(self.hub.box_count(), self.hub.box_ids)

    def knows(self, box_id: str) -> bool:
        """Whether the Box is stored, or known by its data."""
        return box_id in self.registry.now().records or self.hub.newest(box_id) is not None

    def expected_boxes(self) -> list[str]:
        """The ids of the Boxes that should send: all but unplugged ones."""
        records = self.registry.now().records
        return [each for each in self.box_ids() if each not in records or not records[each].unplugged]
