"""The numbers and GUIDs of PQDIF (IEEE 1159.3), for the reader here and the writer of `opq_cloud.export`.

Source: the working group's header files pqdif_ph.h, pqdif_lg.h and pqdif_id.h, version 1.5.
"""

import struct
from uuid import UUID

SIGNATURE = UUID("4a111440-e49f-11cf-9900-505144494600")
HEADER = struct.Struct("<16s16siiiI16x")
"""Signature, kind, own size, size of the body, place of the next record or 0, Adler-32 of the stored body."""
ENTRY = struct.Struct("<16sBBBx8s")
"""Tag, element type, physical type, whether the value is embedded, then the value or its place and length."""
EMBEDDED_BYTES = 8

# Element types.
COLLECTION = 1
SCALAR = 2
VECTOR = 3

# Physical types; the names have the bytes of a value.
BOOL4 = 3
CHAR1 = 10
INT2 = 21
UINT4 = 32
REAL8 = 41
TIMESTAMP = 50
GUID = 60

DAY_OF_1970 = 25569
"""Days from 1899-12-30: pqdif_ph.h says 1900-01-01 in words and gives this number; readers use the number."""
COMPRESSED_BY_RECORD = 2
"""COMPRESSION_STYLE: each record's body is compressed."""
ZLIB = 1
"""COMPRESSION_ALGORITHM."""

# Bits of a series' storage method.
VALUES = 1
SCALED = 2
INCREMENT = 4

VOLTAGE = 1
"""QUANTITY_MEASURED of a voltage."""
SECONDS = 2
"""QUANTITY_UNITS of times."""
VOLTS = 6
"""QUANTITY_UNITS of a voltage."""
CHANNEL_TRIGGER = 1
"""Why an observation was recorded: a limit of a channel."""
EXTERNAL_TRIGGER = 3
"""Why an observation was recorded: a signal from outside."""
PHASES = {"A": 1, "L1": 1, "B": 2, "L2": 2, "C": 3, "L3": 3}
"""Each phase to neutral. Other names of phases appear only in the channel's name."""


class Tag:
    """The GUIDs that say what an element is."""

    CONTAINER = UUID("89738606-f1c3-11cf-9d89-0080c72e70a3")
    DATA_SOURCE = UUID("89738619-f1c3-11cf-9d89-0080c72e70a3")
    MONITOR_SETTINGS = UUID("b48d858c-f5f5-11cf-9d89-0080c72e70a3")
    OBSERVATION = UUID("8973861a-f1c3-11cf-9d89-0080c72e70a3")

    VERSION_INFO = UUID("89738607-f1c3-11cf-9d89-0080c72e70a3")
    FILE_NAME = UUID("89738608-f1c3-11cf-9d89-0080c72e70a3")
    CREATION = UUID("89738609-f1c3-11cf-9d89-0080c72e70a3")
    TITLE = UUID("8973860d-f1c3-11cf-9d89-0080c72e70a3")
    COMMENTS = UUID("89738611-f1c3-11cf-9d89-0080c72e70a3")
    COPYRIGHT = UUID("89738615-f1c3-11cf-9d89-0080c72e70a3")
    APPLICATION = UUID("89738623-f1c3-11cf-9d89-0080c72e70a3")
    COMPRESSION_STYLE = UUID("8973861b-f1c3-11cf-9d89-0080c72e70a3")
    COMPRESSION_ALGORITHM = UUID("8973861c-f1c3-11cf-9d89-0080c72e70a3")

    SOURCE_TYPE = UUID("b48d8581-f5f5-11cf-9d89-0080c72e70a3")
    SERIAL_NUMBER = UUID("b48d8585-f5f5-11cf-9d89-0080c72e70a3")
    SOURCE_NAME = UUID("b48d8587-f5f5-11cf-9d89-0080c72e70a3")
    TIME_ZONE = UUID("b48d858a-f5f5-11cf-9d89-0080c72e70a3")
    EFFECTIVE = UUID("62f28183-f9c4-11cf-9d89-0080c72e70a3")
    CHANNEL_DEFINITIONS = UUID("b48d858d-f5f5-11cf-9d89-0080c72e70a3")
    CHANNEL_DEFINITION = UUID("b48d858e-f5f5-11cf-9d89-0080c72e70a3")
    CHANNEL_NAME = UUID("b48d8590-f5f5-11cf-9d89-0080c72e70a3")
    PHASE = UUID("b48d8591-f5f5-11cf-9d89-0080c72e70a3")
    QUANTITY_TYPE = UUID("b48d8592-f5f5-11cf-9d89-0080c72e70a3")
    QUANTITY_MEASURED = UUID("c690e872-f755-11cf-9d89-0080c72e70a3")
    SERIES_DEFINITIONS = UUID("b48d8598-f5f5-11cf-9d89-0080c72e70a3")
    SERIES_DEFINITION = UUID("b48d859a-f5f5-11cf-9d89-0080c72e70a3")
    VALUE_TYPE = UUID("b48d859c-f5f5-11cf-9d89-0080c72e70a3")
    QUANTITY_UNITS = UUID("b48d859b-f5f5-11cf-9d89-0080c72e70a3")
    QUANTITY_CHARACTERISTIC = UUID("3d786f9e-f76e-11cf-9d89-0080c72e70a3")
    STORAGE_METHOD = UUID("b48d85a1-f5f5-11cf-9d89-0080c72e70a3")

    TIME_INSTALLED = UUID("3d786f85-f76e-11cf-9d89-0080c72e70a3")
    USE_CALIBRATION = UUID("62f28180-f9c4-11cf-9d89-0080c72e70a3")
    USE_TRANSDUCER = UUID("62f28181-f9c4-11cf-9d89-0080c72e70a3")
    NOMINAL_FREQUENCY = UUID("0fa118c3-cb4a-11d2-b30b-fe25cb9a1760")
    CHANNEL_SETTINGS = UUID("62f28182-f9c4-11cf-9d89-0080c72e70a3")
    CHANNEL_SETTING = UUID("3d786f9a-f76e-11cf-9d89-0080c72e70a3")
    CHANNEL_INDEX = UUID("b48d858f-f5f5-11cf-9d89-0080c72e70a3")
    SYSTEM_SIDE_RATIO = UUID("62f2818a-f9c4-11cf-9d89-0080c72e70a3")
    MONITOR_SIDE_RATIO = UUID("62f2818b-f9c4-11cf-9d89-0080c72e70a3")

    OBSERVATION_NAME = UUID("3d786f8a-f76e-11cf-9d89-0080c72e70a3")
    TIME_CREATED = UUID("3d786f8b-f76e-11cf-9d89-0080c72e70a3")
    TIME_START = UUID("3d786f8c-f76e-11cf-9d89-0080c72e70a3")
    TRIGGER_METHOD = UUID("3d786f8d-f76e-11cf-9d89-0080c72e70a3")
    TIME_TRIGGERED = UUID("3d786f8e-f76e-11cf-9d89-0080c72e70a3")
    TRIGGER_CHANNELS = UUID("3d786f8f-f76e-11cf-9d89-0080c72e70a3")
    CHANNEL_INSTANCES = UUID("3d786f91-f76e-11cf-9d89-0080c72e70a3")
    CHANNEL_INSTANCE = UUID("3d786f92-f76e-11cf-9d89-0080c72e70a3")
    SERIES_INSTANCES = UUID("3d786f93-f76e-11cf-9d89-0080c72e70a3")
    SERIES_INSTANCE = UUID("3d786f94-f76e-11cf-9d89-0080c72e70a3")
    SERIES_BASE = UUID("3d786f95-f76e-11cf-9d89-0080c72e70a3")
    SERIES_SCALE = UUID("3d786f96-f76e-11cf-9d89-0080c72e70a3")
    SERIES_OFFSET = UUID("3d786f97-f76e-11cf-9d89-0080c72e70a3")
    SERIES_VALUES = UUID("3d786f99-f76e-11cf-9d89-0080c72e70a3")
    SHARED_CHANNEL = UUID("8973861f-f1c3-11cf-9d89-0080c72e70a3")
    SHARED_SERIES = UUID("89738620-f1c3-11cf-9d89-0080c72e70a3")


class Meaning:
    """The GUIDs that are values of elements."""

    MEASURED_SOURCE = UUID("e6b51730-f747-11cf-9d89-0080c72e70a3")
    WAVEFORM = UUID("67f6af80-f753-11cf-9d89-0080c72e70a3")
    TIME = UUID("c690e862-f755-11cf-9d89-0080c72e70a3")
    VALUE = UUID("67f6af97-f753-11cf-9d89-0080c72e70a3")
    NO_CHARACTERISTIC = UUID("a6b31adf-b451-11d1-ae17-0060083a2628")
    INSTANTANEOUS = UUID("a6b31add-b451-11d1-ae17-0060083a2628")
