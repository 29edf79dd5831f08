"""The common part of all sinks, between a rule and its sink.

emission -> batch -> transform (pick, template, encode, compress, encrypt) -> send; what a sink cannot take
now is stored in order and sent again. `pipeline.Pipeline` combines these; a sink itself only sends.

Source: docs/reference/rules.md, E.3.
"""
