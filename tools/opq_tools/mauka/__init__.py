"""Commands of a running Mauka's plug-ins, and analyses on demand: `mauka`, `inject`, `reanalyse`."""
