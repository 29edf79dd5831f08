"""Class A by the standard's own test points and influence quantities, our error beside each limit.

What is tested are the definitions, fed by a 16-bit converter with noise; the Box's analogue front, its
gain and its clock come on top and are not in these figures.

Source: IEC 61000-4-30:2015, 5 (limits, measuring ranges) and the testing states of its edition 2, 6.2, which
edition 3 left to IEC 62586-2; all from memory, none of the texts was at hand.
"""
