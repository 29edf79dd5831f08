"""From a syntax tree to a compiled closure, `f(row, context)`: values, operators, conditions, calls.

`compile` is the entry; `values` defines what null, the types and comparisons mean.
"""
