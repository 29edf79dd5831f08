"""Streams and tables: what CREATE says of them, and payloads made into records by it.

definition.definition_of(create) -> StreamDefinition, and its forms for people and for REST
decoding.Decoder(definition).decode(payloads) -> rows; formats: bytes -> rows; payload: in a column
schema: types of columns; schemas: messages of protobuf, and what they are made of
"""
