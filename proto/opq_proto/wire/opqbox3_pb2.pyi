from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TimeSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FREE: _ClassVar[TimeSource]
    NTP: _ClassVar[TimeSource]
    HOLDOVER: _ClassVar[TimeSource]
    GPS: _ClassVar[TimeSource]
FREE: TimeSource
NTP: TimeSource
HOLDOVER: TimeSource
GPS: TimeSource

class Metric(_message.Message):
    __slots__ = ("min", "max", "average")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_FIELD_NUMBER: _ClassVar[int]
    min: float
    max: float
    average: float
    def __init__(self, min: _Optional[float] = ..., max: _Optional[float] = ..., average: _Optional[float] = ...) -> None: ...

class Interval(_message.Message):
    __slots__ = ("length_ms", "flagged", "coverage", "names", "averages", "least", "most", "place", "angles_deg", "phasors_v")
    LENGTH_MS_FIELD_NUMBER: _ClassVar[int]
    FLAGGED_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    AVERAGES_FIELD_NUMBER: _ClassVar[int]
    LEAST_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    ANGLES_DEG_FIELD_NUMBER: _ClassVar[int]
    PHASORS_V_FIELD_NUMBER: _ClassVar[int]
    length_ms: int
    flagged: bool
    coverage: float
    names: _containers.RepeatedScalarFieldContainer[str]
    averages: _containers.RepeatedScalarFieldContainer[float]
    least: _containers.RepeatedScalarFieldContainer[float]
    most: _containers.RepeatedScalarFieldContainer[float]
    place: str
    angles_deg: _containers.RepeatedScalarFieldContainer[float]
    phasors_v: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, length_ms: _Optional[int] = ..., flagged: _Optional[bool] = ..., coverage: _Optional[float] = ..., names: _Optional[_Iterable[str]] = ..., averages: _Optional[_Iterable[float]] = ..., least: _Optional[_Iterable[float]] = ..., most: _Optional[_Iterable[float]] = ..., place: _Optional[str] = ..., angles_deg: _Optional[_Iterable[float]] = ..., phasors_v: _Optional[_Iterable[float]] = ...) -> None: ...

class Disturbance(_message.Message):
    __slots__ = ("closed", "residual_v", "polyphase_group")
    CLASS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_V_FIELD_NUMBER: _ClassVar[int]
    POLYPHASE_GROUP_FIELD_NUMBER: _ClassVar[int]
    closed: bool
    residual_v: float
    polyphase_group: int
    def __init__(self, closed: _Optional[bool] = ..., residual_v: _Optional[float] = ..., polyphase_group: _Optional[int] = ..., **kwargs) -> None: ...

class LostValues(_message.Message):
    __slots__ = ("kind", "rows", "place")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    rows: int
    place: str
    def __init__(self, kind: _Optional[str] = ..., rows: _Optional[int] = ..., place: _Optional[str] = ...) -> None: ...

class Measurement(_message.Message):
    __slots__ = ("box_id", "timestamp_ms", "metrics", "start_ns", "end_ns", "uncertainty_ns", "time_source", "sequence", "backfilled", "crossing", "oldest_sequence", "nominal_v", "nominal_hz", "interval", "disturbance", "clock_id", "gateway_id", "lost", "first_sample", "samples", "start_id")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Metric
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Metric, _Mapping]] = ...) -> None: ...
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    START_NS_FIELD_NUMBER: _ClassVar[int]
    END_NS_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_NS_FIELD_NUMBER: _ClassVar[int]
    TIME_SOURCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BACKFILLED_FIELD_NUMBER: _ClassVar[int]
    CROSSING_FIELD_NUMBER: _ClassVar[int]
    OLDEST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NOMINAL_V_FIELD_NUMBER: _ClassVar[int]
    NOMINAL_HZ_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    DISTURBANCE_FIELD_NUMBER: _ClassVar[int]
    CLOCK_ID_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    FIRST_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    START_ID_FIELD_NUMBER: _ClassVar[int]
    box_id: int
    timestamp_ms: int
    metrics: _containers.MessageMap[str, Metric]
    start_ns: int
    end_ns: int
    uncertainty_ns: int
    time_source: TimeSource
    sequence: int
    backfilled: bool
    crossing: bool
    oldest_sequence: int
    nominal_v: float
    nominal_hz: float
    interval: Interval
    disturbance: Disturbance
    clock_id: int
    gateway_id: int
    lost: LostValues
    first_sample: int
    samples: int
    start_id: int
    def __init__(self, box_id: _Optional[int] = ..., timestamp_ms: _Optional[int] = ..., metrics: _Optional[_Mapping[str, Metric]] = ..., start_ns: _Optional[int] = ..., end_ns: _Optional[int] = ..., uncertainty_ns: _Optional[int] = ..., time_source: _Optional[_Union[TimeSource, str]] = ..., sequence: _Optional[int] = ..., backfilled: _Optional[bool] = ..., crossing: _Optional[bool] = ..., oldest_sequence: _Optional[int] = ..., nominal_v: _Optional[float] = ..., nominal_hz: _Optional[float] = ..., interval: _Optional[_Union[Interval, _Mapping]] = ..., disturbance: _Optional[_Union[Disturbance, _Mapping]] = ..., clock_id: _Optional[int] = ..., gateway_id: _Optional[int] = ..., lost: _Optional[_Union[LostValues, _Mapping]] = ..., first_sample: _Optional[int] = ..., samples: _Optional[int] = ..., start_id: _Optional[int] = ...) -> None: ...

class GetInfoCommand(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetDataCommand(_message.Message):
    __slots__ = ("start_ms", "end_ms", "wait", "sample", "sample_ns", "start_id")
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_NS_FIELD_NUMBER: _ClassVar[int]
    START_ID_FIELD_NUMBER: _ClassVar[int]
    start_ms: int
    end_ms: int
    wait: bool
    sample: int
    sample_ns: int
    start_id: int
    def __init__(self, start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., wait: _Optional[bool] = ..., sample: _Optional[int] = ..., sample_ns: _Optional[int] = ..., start_id: _Optional[int] = ...) -> None: ...

class SetMeasturementRateCommand(_message.Message):
    __slots__ = ("measurement_window_cycles",)
    MEASUREMENT_WINDOW_CYCLES_FIELD_NUMBER: _ClassVar[int]
    measurement_window_cycles: int
    def __init__(self, measurement_window_cycles: _Optional[int] = ...) -> None: ...

class SendCommandToPlugin(_message.Message):
    __slots__ = ("plugin_name", "message", "takes")
    PLUGIN_NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TAKES_FIELD_NUMBER: _ClassVar[int]
    plugin_name: str
    message: str
    takes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, plugin_name: _Optional[str] = ..., message: _Optional[str] = ..., takes: _Optional[_Iterable[str]] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("seq", "box_id", "timestamp_ms", "identity", "info_command", "data_command", "sampling_rate_command", "send_command_to_plugin")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    INFO_COMMAND_FIELD_NUMBER: _ClassVar[int]
    DATA_COMMAND_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_RATE_COMMAND_FIELD_NUMBER: _ClassVar[int]
    SEND_COMMAND_TO_PLUGIN_FIELD_NUMBER: _ClassVar[int]
    seq: int
    box_id: int
    timestamp_ms: int
    identity: str
    info_command: GetInfoCommand
    data_command: GetDataCommand
    sampling_rate_command: SetMeasturementRateCommand
    send_command_to_plugin: SendCommandToPlugin
    def __init__(self, seq: _Optional[int] = ..., box_id: _Optional[int] = ..., timestamp_ms: _Optional[int] = ..., identity: _Optional[str] = ..., info_command: _Optional[_Union[GetInfoCommand, _Mapping]] = ..., data_command: _Optional[_Union[GetDataCommand, _Mapping]] = ..., sampling_rate_command: _Optional[_Union[SetMeasturementRateCommand, _Mapping]] = ..., send_command_to_plugin: _Optional[_Union[SendCommandToPlugin, _Mapping]] = ...) -> None: ...

class GetInfoResponse(_message.Message):
    __slots__ = ("mac_addr", "wifi_network", "ip", "uptime", "calibration_constant", "pub_key", "measurement_rate", "firmware", "hardware", "software", "losses", "facts")
    class LossesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MAC_ADDR_FIELD_NUMBER: _ClassVar[int]
    WIFI_NETWORK_FIELD_NUMBER: _ClassVar[int]
    IP_FIELD_NUMBER: _ClassVar[int]
    UPTIME_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_CONSTANT_FIELD_NUMBER: _ClassVar[int]
    PUB_KEY_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENT_RATE_FIELD_NUMBER: _ClassVar[int]
    FIRMWARE_FIELD_NUMBER: _ClassVar[int]
    HARDWARE_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    mac_addr: str
    wifi_network: str
    ip: str
    uptime: int
    calibration_constant: int
    pub_key: str
    measurement_rate: int
    firmware: str
    hardware: str
    software: str
    losses: _containers.ScalarMap[str, int]
    facts: _containers.ScalarMap[str, str]
    def __init__(self, mac_addr: _Optional[str] = ..., wifi_network: _Optional[str] = ..., ip: _Optional[str] = ..., uptime: _Optional[int] = ..., calibration_constant: _Optional[int] = ..., pub_key: _Optional[str] = ..., measurement_rate: _Optional[int] = ..., firmware: _Optional[str] = ..., hardware: _Optional[str] = ..., software: _Optional[str] = ..., losses: _Optional[_Mapping[str, int]] = ..., facts: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SetMeasurementRateResponse(_message.Message):
    __slots__ = ("old_rate_cycles",)
    OLD_RATE_CYCLES_FIELD_NUMBER: _ClassVar[int]
    old_rate_cycles: int
    def __init__(self, old_rate_cycles: _Optional[int] = ...) -> None: ...

class SampleGap(_message.Message):
    __slots__ = ("first_sample", "samples", "reason")
    FIRST_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    first_sample: int
    samples: int
    reason: str
    def __init__(self, first_sample: _Optional[int] = ..., samples: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class GetDataResponseHeader(_message.Message):
    __slots__ = ("start_ts", "end_ts", "volts_per_lsb", "rate_millihz", "gap", "available_start_ns", "available_end_ns", "moved_ns", "start_id", "nominal_v", "nominal_hz")
    START_TS_FIELD_NUMBER: _ClassVar[int]
    END_TS_FIELD_NUMBER: _ClassVar[int]
    VOLTS_PER_LSB_FIELD_NUMBER: _ClassVar[int]
    RATE_MILLIHZ_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_START_NS_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_END_NS_FIELD_NUMBER: _ClassVar[int]
    MOVED_NS_FIELD_NUMBER: _ClassVar[int]
    START_ID_FIELD_NUMBER: _ClassVar[int]
    NOMINAL_V_FIELD_NUMBER: _ClassVar[int]
    NOMINAL_HZ_FIELD_NUMBER: _ClassVar[int]
    start_ts: int
    end_ts: int
    volts_per_lsb: float
    rate_millihz: int
    gap: _containers.RepeatedCompositeFieldContainer[SampleGap]
    available_start_ns: int
    available_end_ns: int
    moved_ns: int
    start_id: int
    nominal_v: float
    nominal_hz: float
    def __init__(self, start_ts: _Optional[int] = ..., end_ts: _Optional[int] = ..., volts_per_lsb: _Optional[float] = ..., rate_millihz: _Optional[int] = ..., gap: _Optional[_Iterable[_Union[SampleGap, _Mapping]]] = ..., available_start_ns: _Optional[int] = ..., available_end_ns: _Optional[int] = ..., moved_ns: _Optional[int] = ..., start_id: _Optional[int] = ..., nominal_v: _Optional[float] = ..., nominal_hz: _Optional[float] = ...) -> None: ...

class HalfCycleRms(_message.Message):
    __slots__ = ("start_ns", "end_ns", "uncertainty_ns", "time_source", "every", "step_us", "least_v", "most_v")
    START_NS_FIELD_NUMBER: _ClassVar[int]
    END_NS_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_NS_FIELD_NUMBER: _ClassVar[int]
    TIME_SOURCE_FIELD_NUMBER: _ClassVar[int]
    EVERY_FIELD_NUMBER: _ClassVar[int]
    STEP_US_FIELD_NUMBER: _ClassVar[int]
    LEAST_V_FIELD_NUMBER: _ClassVar[int]
    MOST_V_FIELD_NUMBER: _ClassVar[int]
    start_ns: int
    end_ns: int
    uncertainty_ns: int
    time_source: TimeSource
    every: int
    step_us: _containers.RepeatedScalarFieldContainer[int]
    least_v: _containers.RepeatedScalarFieldContainer[float]
    most_v: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, start_ns: _Optional[int] = ..., end_ns: _Optional[int] = ..., uncertainty_ns: _Optional[int] = ..., time_source: _Optional[_Union[TimeSource, str]] = ..., every: _Optional[int] = ..., step_us: _Optional[_Iterable[int]] = ..., least_v: _Optional[_Iterable[float]] = ..., most_v: _Optional[_Iterable[float]] = ...) -> None: ...

class SendCommandToPluginResponse(_message.Message):
    __slots__ = ("ok", "detail", "half_cycles")
    OK_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    HALF_CYCLES_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    detail: str
    half_cycles: HalfCycleRms
    def __init__(self, ok: _Optional[bool] = ..., detail: _Optional[str] = ..., half_cycles: _Optional[_Union[HalfCycleRms, _Mapping]] = ...) -> None: ...

class Response(_message.Message):
    __slots__ = ("box_id", "seq", "timestamp_ms", "info_response", "message_rate_reponse", "get_data_response", "command_to_plugin_response")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    INFO_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_RATE_REPONSE_FIELD_NUMBER: _ClassVar[int]
    GET_DATA_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_TO_PLUGIN_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    box_id: int
    seq: int
    timestamp_ms: int
    info_response: GetInfoResponse
    message_rate_reponse: SetMeasurementRateResponse
    get_data_response: GetDataResponseHeader
    command_to_plugin_response: SendCommandToPluginResponse
    def __init__(self, box_id: _Optional[int] = ..., seq: _Optional[int] = ..., timestamp_ms: _Optional[int] = ..., info_response: _Optional[_Union[GetInfoResponse, _Mapping]] = ..., message_rate_reponse: _Optional[_Union[SetMeasurementRateResponse, _Mapping]] = ..., get_data_response: _Optional[_Union[GetDataResponseHeader, _Mapping]] = ..., command_to_plugin_response: _Optional[_Union[SendCommandToPluginResponse, _Mapping]] = ...) -> None: ...

class Cycle(_message.Message):
    __slots__ = ("datapoints", "timestamp_ms", "start_ns", "uncertainty_ns", "first_sample", "time_source")
    DATAPOINTS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    START_NS_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_NS_FIELD_NUMBER: _ClassVar[int]
    FIRST_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    TIME_SOURCE_FIELD_NUMBER: _ClassVar[int]
    datapoints: _containers.RepeatedScalarFieldContainer[int]
    timestamp_ms: int
    start_ns: int
    uncertainty_ns: int
    first_sample: int
    time_source: TimeSource
    def __init__(self, datapoints: _Optional[_Iterable[int]] = ..., timestamp_ms: _Optional[int] = ..., start_ns: _Optional[int] = ..., uncertainty_ns: _Optional[int] = ..., first_sample: _Optional[int] = ..., time_source: _Optional[_Union[TimeSource, str]] = ...) -> None: ...
