"""Between a rule and its sink: what every sink has in common.

emission -> batch -> transform (pick, template, encode, compress, encrypt) -> send; what a sink cannot take
now is kept in order and sent again. `pipeline.Pipeline` puts it together; a sink itself only sends.
Source: reference/rules.md, E.3.
"""
