"""Samples to measured values: windows, class A quantities, what is sent of them."""
