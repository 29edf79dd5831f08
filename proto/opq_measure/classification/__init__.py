"""The class of a recording, with its reasons: one answer for `opq-tools classify` and for Mauka."""
