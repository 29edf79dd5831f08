"""From a syntax tree to a compiled closure, `f(row, context)`: values, operators, conditions, calls.

`compile` is the door; `values` says what null, types and comparison mean.
"""
