"""Class A by the standard's own test points and influence quantities: our error and the limit of each.

This tests the definitions, fed by a 16-bit converter with noise; errors of the Box's analogue front end, gain
and clock are not in these figures.

Source: IEC 61000-4-30:2015, 5 (limits, measuring ranges) and the testing states of its edition 2, 6.2, which
edition 3 left to IEC 62586-2; all from memory, without the texts.
"""
