"""Random schedules of faults, by seed, at real gateways and clouds; each kind has a world and a verdict."""
