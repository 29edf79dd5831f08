"""Boxes of the original's two generations, to the byte: CUR (Rust, since 2019), LEG (C++, to January 2019).

Peers for tests of brokers and for `opq-tools sim N --foreign cur|leg`. They share no encoder with the rest
of the project: `protobuf_bytes` writes the wire format of Protocol Buffers by hand.
"""
