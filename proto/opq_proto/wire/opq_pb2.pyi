from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Cycle(_message.Message):
    __slots__ = ("time", "data", "last_gps", "current_count", "flags")
    TIME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_GPS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    time: int
    data: _containers.RepeatedScalarFieldContainer[int]
    last_gps: int
    current_count: int
    flags: int
    def __init__(self, time: _Optional[int] = ..., data: _Optional[_Iterable[int]] = ..., last_gps: _Optional[int] = ..., current_count: _Optional[int] = ..., flags: _Optional[int] = ...) -> None: ...

class DataMessage(_message.Message):
    __slots__ = ("id", "cycles")
    ID_FIELD_NUMBER: _ClassVar[int]
    CYCLES_FIELD_NUMBER: _ClassVar[int]
    id: int
    cycles: _containers.RepeatedCompositeFieldContainer[Cycle]
    def __init__(self, id: _Optional[int] = ..., cycles: _Optional[_Iterable[_Union[Cycle, _Mapping]]] = ...) -> None: ...

class TriggerMessage(_message.Message):
    __slots__ = ("id", "time", "frequency", "rms", "thd", "last_gps", "current_count", "flags")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_FIELD_NUMBER: _ClassVar[int]
    RMS_FIELD_NUMBER: _ClassVar[int]
    THD_FIELD_NUMBER: _ClassVar[int]
    LAST_GPS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    id: int
    time: int
    frequency: float
    rms: float
    thd: float
    last_gps: int
    current_count: int
    flags: int
    def __init__(self, id: _Optional[int] = ..., time: _Optional[int] = ..., frequency: _Optional[float] = ..., rms: _Optional[float] = ..., thd: _Optional[float] = ..., last_gps: _Optional[int] = ..., current_count: _Optional[int] = ..., flags: _Optional[int] = ...) -> None: ...

class RequestDataMessage(_message.Message):
    __slots__ = ("type", "sequence_number", "boxId", "time", "back", "forward", "num_cycles")
    class RequestType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PING: _ClassVar[RequestDataMessage.RequestType]
        PONG: _ClassVar[RequestDataMessage.RequestType]
        READ: _ClassVar[RequestDataMessage.RequestType]
        RESP: _ClassVar[RequestDataMessage.RequestType]
        ERROR: _ClassVar[RequestDataMessage.RequestType]
    PING: RequestDataMessage.RequestType
    PONG: RequestDataMessage.RequestType
    READ: RequestDataMessage.RequestType
    RESP: RequestDataMessage.RequestType
    ERROR: RequestDataMessage.RequestType
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    BOXID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    BACK_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    NUM_CYCLES_FIELD_NUMBER: _ClassVar[int]
    type: RequestDataMessage.RequestType
    sequence_number: int
    boxId: int
    time: int
    back: int
    forward: int
    num_cycles: int
    def __init__(self, type: _Optional[_Union[RequestDataMessage.RequestType, str]] = ..., sequence_number: _Optional[int] = ..., boxId: _Optional[int] = ..., time: _Optional[int] = ..., back: _Optional[int] = ..., forward: _Optional[int] = ..., num_cycles: _Optional[int] = ...) -> None: ...

class RequestEventMessage(_message.Message):
    __slots__ = ("start_timestamp_ms_utc", "end_timestamp_ms_utc", "trigger_type", "percent_magnitude", "box_ids", "requestee", "description", "request_data")
    class TriggerType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FREQUENCY_SAG: _ClassVar[RequestEventMessage.TriggerType]
        FREQUENCY_SWELL: _ClassVar[RequestEventMessage.TriggerType]
        VOLTAGE_SAG: _ClassVar[RequestEventMessage.TriggerType]
        VOLTAGE_SWELL: _ClassVar[RequestEventMessage.TriggerType]
        OTHER: _ClassVar[RequestEventMessage.TriggerType]
    FREQUENCY_SAG: RequestEventMessage.TriggerType
    FREQUENCY_SWELL: RequestEventMessage.TriggerType
    VOLTAGE_SAG: RequestEventMessage.TriggerType
    VOLTAGE_SWELL: RequestEventMessage.TriggerType
    OTHER: RequestEventMessage.TriggerType
    START_TIMESTAMP_MS_UTC_FIELD_NUMBER: _ClassVar[int]
    END_TIMESTAMP_MS_UTC_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_TYPE_FIELD_NUMBER: _ClassVar[int]
    PERCENT_MAGNITUDE_FIELD_NUMBER: _ClassVar[int]
    BOX_IDS_FIELD_NUMBER: _ClassVar[int]
    REQUESTEE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_DATA_FIELD_NUMBER: _ClassVar[int]
    start_timestamp_ms_utc: int
    end_timestamp_ms_utc: int
    trigger_type: RequestEventMessage.TriggerType
    percent_magnitude: float
    box_ids: _containers.RepeatedScalarFieldContainer[int]
    requestee: str
    description: str
    request_data: bool
    def __init__(self, start_timestamp_ms_utc: _Optional[int] = ..., end_timestamp_ms_utc: _Optional[int] = ..., trigger_type: _Optional[_Union[RequestEventMessage.TriggerType, str]] = ..., percent_magnitude: _Optional[float] = ..., box_ids: _Optional[_Iterable[int]] = ..., requestee: _Optional[str] = ..., description: _Optional[str] = ..., request_data: _Optional[bool] = ...) -> None: ...
