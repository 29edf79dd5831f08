from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PayloadType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ADC_SAMPLES: _ClassVar[PayloadType]
    VOLTAGE_RAW: _ClassVar[PayloadType]
    VOLTAGE_RMS: _ClassVar[PayloadType]
    VOLTAGE_RMS_WINDOWED: _ClassVar[PayloadType]
    FREQUENCY_WINDOWED: _ClassVar[PayloadType]

class GcDomain(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEASUREMENTS: _ClassVar[GcDomain]
    TRENDS: _ClassVar[GcDomain]
    EVENTS: _ClassVar[GcDomain]
    INCIDENTS: _ClassVar[GcDomain]
    PHENOMENA: _ClassVar[GcDomain]
    SAMPLES: _ClassVar[GcDomain]
ADC_SAMPLES: PayloadType
VOLTAGE_RAW: PayloadType
VOLTAGE_RMS: PayloadType
VOLTAGE_RMS_WINDOWED: PayloadType
FREQUENCY_WINDOWED: PayloadType
MEASUREMENTS: GcDomain
TRENDS: GcDomain
EVENTS: GcDomain
INCIDENTS: GcDomain
PHENOMENA: GcDomain
SAMPLES: GcDomain

class Payload(_message.Message):
    __slots__ = ("event_id", "box_id", "data", "payload_type", "start_timestamp_ms", "end_timestamp_ms")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_TYPE_FIELD_NUMBER: _ClassVar[int]
    START_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    END_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    event_id: int
    box_id: str
    data: _containers.RepeatedScalarFieldContainer[float]
    payload_type: PayloadType
    start_timestamp_ms: int
    end_timestamp_ms: int
    def __init__(self, event_id: _Optional[int] = ..., box_id: _Optional[str] = ..., data: _Optional[_Iterable[float]] = ..., payload_type: _Optional[_Union[PayloadType, str]] = ..., start_timestamp_ms: _Optional[int] = ..., end_timestamp_ms: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("last_received_timestamp_ms", "on_message_count", "status", "plugin_state")
    LAST_RECEIVED_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    ON_MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PLUGIN_STATE_FIELD_NUMBER: _ClassVar[int]
    last_received_timestamp_ms: int
    on_message_count: int
    status: str
    plugin_state: str
    def __init__(self, last_received_timestamp_ms: _Optional[int] = ..., on_message_count: _Optional[int] = ..., status: _Optional[str] = ..., plugin_state: _Optional[str] = ...) -> None: ...

class MakaiEvent(_message.Message):
    __slots__ = ("event_id",)
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    event_id: int
    def __init__(self, event_id: _Optional[int] = ...) -> None: ...

class Measurement(_message.Message):
    __slots__ = ("box_id", "timestamp_ms", "frequency", "voltage_rms", "thd")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_FIELD_NUMBER: _ClassVar[int]
    VOLTAGE_RMS_FIELD_NUMBER: _ClassVar[int]
    THD_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    timestamp_ms: int
    frequency: float
    voltage_rms: float
    thd: float
    def __init__(self, box_id: _Optional[str] = ..., timestamp_ms: _Optional[int] = ..., frequency: _Optional[float] = ..., voltage_rms: _Optional[float] = ..., thd: _Optional[float] = ...) -> None: ...

class MakaiTrigger(_message.Message):
    __slots__ = ("event_start_timestamp_ms", "event_end_timestamp_ms", "event_type", "max_value", "box_id")
    EVENT_START_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    EVENT_END_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    MAX_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    event_start_timestamp_ms: int
    event_end_timestamp_ms: int
    event_type: str
    max_value: float
    box_id: str
    def __init__(self, event_start_timestamp_ms: _Optional[int] = ..., event_end_timestamp_ms: _Optional[int] = ..., event_type: _Optional[str] = ..., max_value: _Optional[float] = ..., box_id: _Optional[str] = ...) -> None: ...

class Ttl(_message.Message):
    __slots__ = ("collection", "ttl_s")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    collection: str
    ttl_s: int
    def __init__(self, collection: _Optional[str] = ..., ttl_s: _Optional[int] = ...) -> None: ...

class GcTrigger(_message.Message):
    __slots__ = ("gc_domains",)
    GC_DOMAINS_FIELD_NUMBER: _ClassVar[int]
    gc_domains: _containers.RepeatedScalarFieldContainer[GcDomain]
    def __init__(self, gc_domains: _Optional[_Iterable[_Union[GcDomain, str]]] = ...) -> None: ...

class GcUpdate(_message.Message):
    __slots__ = ("from_domain", "id")
    FROM_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    from_domain: GcDomain
    id: int
    def __init__(self, from_domain: _Optional[_Union[GcDomain, str]] = ..., id: _Optional[int] = ...) -> None: ...

class GcStat(_message.Message):
    __slots__ = ("gc_domain", "gc_cnt")
    GC_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    GC_CNT_FIELD_NUMBER: _ClassVar[int]
    gc_domain: GcDomain
    gc_cnt: int
    def __init__(self, gc_domain: _Optional[_Union[GcDomain, str]] = ..., gc_cnt: _Optional[int] = ...) -> None: ...

class Laha(_message.Message):
    __slots__ = ("ttl", "gc_trigger", "gc_update", "gc_stat")
    TTL_FIELD_NUMBER: _ClassVar[int]
    GC_TRIGGER_FIELD_NUMBER: _ClassVar[int]
    GC_UPDATE_FIELD_NUMBER: _ClassVar[int]
    GC_STAT_FIELD_NUMBER: _ClassVar[int]
    ttl: Ttl
    gc_trigger: GcTrigger
    gc_update: GcUpdate
    gc_stat: GcStat
    def __init__(self, ttl: _Optional[_Union[Ttl, _Mapping]] = ..., gc_trigger: _Optional[_Union[GcTrigger, _Mapping]] = ..., gc_update: _Optional[_Union[GcUpdate, _Mapping]] = ..., gc_stat: _Optional[_Union[GcStat, _Mapping]] = ...) -> None: ...

class TriggerRequest(_message.Message):
    __slots__ = ("start_timestamp_ms", "end_timestamp_ms", "box_ids", "incident_id")
    START_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    END_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    BOX_IDS_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_ID_FIELD_NUMBER: _ClassVar[int]
    start_timestamp_ms: int
    end_timestamp_ms: int
    box_ids: _containers.RepeatedScalarFieldContainer[str]
    incident_id: int
    def __init__(self, start_timestamp_ms: _Optional[int] = ..., end_timestamp_ms: _Optional[int] = ..., box_ids: _Optional[_Iterable[str]] = ..., incident_id: _Optional[int] = ...) -> None: ...

class TriggeredEvent(_message.Message):
    __slots__ = ("data", "incident_id", "box_id", "start_timestamp_ms", "end_timestamp_ms")
    DATA_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_ID_FIELD_NUMBER: _ClassVar[int]
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    END_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedScalarFieldContainer[int]
    incident_id: int
    box_id: str
    start_timestamp_ms: int
    end_timestamp_ms: int
    def __init__(self, data: _Optional[_Iterable[int]] = ..., incident_id: _Optional[int] = ..., box_id: _Optional[str] = ..., start_timestamp_ms: _Optional[int] = ..., end_timestamp_ms: _Optional[int] = ...) -> None: ...

class ThresholdOptimizationRequest(_message.Message):
    __slots__ = ("default_ref_f", "default_ref_v", "default_threshold_percent_f_low", "default_threshold_percent_f_high", "default_threshold_percent_v_low", "default_threshold_percent_v_high", "default_threshold_percent_thd_high", "box_id", "ref_f", "ref_v", "threshold_percent_f_low", "threshold_percent_f_high", "threshold_percent_v_low", "threshold_percent_v_high", "threshold_percent_thd_high")
    DEFAULT_REF_F_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_REF_V_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_THRESHOLD_PERCENT_F_LOW_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_THRESHOLD_PERCENT_F_HIGH_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_THRESHOLD_PERCENT_V_LOW_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_THRESHOLD_PERCENT_V_HIGH_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_THRESHOLD_PERCENT_THD_HIGH_FIELD_NUMBER: _ClassVar[int]
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    REF_F_FIELD_NUMBER: _ClassVar[int]
    REF_V_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_PERCENT_F_LOW_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_PERCENT_F_HIGH_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_PERCENT_V_LOW_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_PERCENT_V_HIGH_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_PERCENT_THD_HIGH_FIELD_NUMBER: _ClassVar[int]
    default_ref_f: float
    default_ref_v: float
    default_threshold_percent_f_low: float
    default_threshold_percent_f_high: float
    default_threshold_percent_v_low: float
    default_threshold_percent_v_high: float
    default_threshold_percent_thd_high: float
    box_id: str
    ref_f: float
    ref_v: float
    threshold_percent_f_low: float
    threshold_percent_f_high: float
    threshold_percent_v_low: float
    threshold_percent_v_high: float
    threshold_percent_thd_high: float
    def __init__(self, default_ref_f: _Optional[float] = ..., default_ref_v: _Optional[float] = ..., default_threshold_percent_f_low: _Optional[float] = ..., default_threshold_percent_f_high: _Optional[float] = ..., default_threshold_percent_v_low: _Optional[float] = ..., default_threshold_percent_v_high: _Optional[float] = ..., default_threshold_percent_thd_high: _Optional[float] = ..., box_id: _Optional[str] = ..., ref_f: _Optional[float] = ..., ref_v: _Optional[float] = ..., threshold_percent_f_low: _Optional[float] = ..., threshold_percent_f_high: _Optional[float] = ..., threshold_percent_v_low: _Optional[float] = ..., threshold_percent_v_high: _Optional[float] = ..., threshold_percent_thd_high: _Optional[float] = ...) -> None: ...

class BoxOptimizationRequest(_message.Message):
    __slots__ = ("box_ids", "measurement_window_cycles")
    BOX_IDS_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENT_WINDOW_CYCLES_FIELD_NUMBER: _ClassVar[int]
    box_ids: _containers.RepeatedScalarFieldContainer[str]
    measurement_window_cycles: int
    def __init__(self, box_ids: _Optional[_Iterable[str]] = ..., measurement_window_cycles: _Optional[int] = ...) -> None: ...

class BoxMeasurementRateRequest(_message.Message):
    __slots__ = ("box_ids",)
    BOX_IDS_FIELD_NUMBER: _ClassVar[int]
    box_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, box_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class BoxMeasurementRateResponse(_message.Message):
    __slots__ = ("box_id", "measurement_rate")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENT_RATE_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    measurement_rate: int
    def __init__(self, box_id: _Optional[str] = ..., measurement_rate: _Optional[int] = ...) -> None: ...

class IncidentIdReq(_message.Message):
    __slots__ = ("req_id",)
    REQ_ID_FIELD_NUMBER: _ClassVar[int]
    req_id: int
    def __init__(self, req_id: _Optional[int] = ...) -> None: ...

class IncidentIdResp(_message.Message):
    __slots__ = ("resp_id", "incident_id")
    RESP_ID_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_ID_FIELD_NUMBER: _ClassVar[int]
    resp_id: int
    incident_id: int
    def __init__(self, resp_id: _Optional[int] = ..., incident_id: _Optional[int] = ...) -> None: ...

class MaukaMessage(_message.Message):
    __slots__ = ("timestamp_ms", "source", "payload", "heartbeat", "makai_event", "measurement", "makai_trigger", "laha", "trigger_request", "triggered_event", "threshold_optimization_request", "box_optimization_request", "box_measurement_rate_request", "box_measurement_rate_response", "incident_id_req", "incident_id_resp", "incident_json", "analysis_json")
    TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    MAKAI_EVENT_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
    MAKAI_TRIGGER_FIELD_NUMBER: _ClassVar[int]
    LAHA_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    TRIGGERED_EVENT_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_OPTIMIZATION_REQUEST_FIELD_NUMBER: _ClassVar[int]
    BOX_OPTIMIZATION_REQUEST_FIELD_NUMBER: _ClassVar[int]
    BOX_MEASUREMENT_RATE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    BOX_MEASUREMENT_RATE_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_ID_REQ_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_ID_RESP_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_JSON_FIELD_NUMBER: _ClassVar[int]
    ANALYSIS_JSON_FIELD_NUMBER: _ClassVar[int]
    timestamp_ms: int
    source: str
    payload: Payload
    heartbeat: Heartbeat
    makai_event: MakaiEvent
    measurement: Measurement
    makai_trigger: MakaiTrigger
    laha: Laha
    trigger_request: TriggerRequest
    triggered_event: TriggeredEvent
    threshold_optimization_request: ThresholdOptimizationRequest
    box_optimization_request: BoxOptimizationRequest
    box_measurement_rate_request: BoxMeasurementRateRequest
    box_measurement_rate_response: BoxMeasurementRateResponse
    incident_id_req: IncidentIdReq
    incident_id_resp: IncidentIdResp
    incident_json: str
    analysis_json: str
    def __init__(self, timestamp_ms: _Optional[int] = ..., source: _Optional[str] = ..., payload: _Optional[_Union[Payload, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., makai_event: _Optional[_Union[MakaiEvent, _Mapping]] = ..., measurement: _Optional[_Union[Measurement, _Mapping]] = ..., makai_trigger: _Optional[_Union[MakaiTrigger, _Mapping]] = ..., laha: _Optional[_Union[Laha, _Mapping]] = ..., trigger_request: _Optional[_Union[TriggerRequest, _Mapping]] = ..., triggered_event: _Optional[_Union[TriggeredEvent, _Mapping]] = ..., threshold_optimization_request: _Optional[_Union[ThresholdOptimizationRequest, _Mapping]] = ..., box_optimization_request: _Optional[_Union[BoxOptimizationRequest, _Mapping]] = ..., box_measurement_rate_request: _Optional[_Union[BoxMeasurementRateRequest, _Mapping]] = ..., box_measurement_rate_response: _Optional[_Union[BoxMeasurementRateResponse, _Mapping]] = ..., incident_id_req: _Optional[_Union[IncidentIdReq, _Mapping]] = ..., incident_id_resp: _Optional[_Union[IncidentIdResp, _Mapping]] = ..., incident_json: _Optional[str] = ..., analysis_json: _Optional[str] = ...) -> None: ...
