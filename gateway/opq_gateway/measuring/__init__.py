"""From samples to measured values: windows, class A quantities, and what is sent of them."""
