"""Streams and tables: the meaning of CREATE, and how it turns payloads into records.

definition.definition_of(create) -> StreamDefinition, and its forms for people and for REST
decoding.StreamDecoder(definition).decode(payloads) -> rows; formats: bytes -> rows
schema: types of columns; schemas: messages of protobuf
"""
