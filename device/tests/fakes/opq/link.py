"""The CRC-32 that MicroPython's unix port has as well."""

from binascii import crc32  # noqa: F401
