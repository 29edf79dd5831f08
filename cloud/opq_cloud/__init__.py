"""The compact cloud tier: Makai, store, Mauka, View; each service alone or all in one process."""
