"""The Linux half of a Box: ring on disk, windows, measurements, uplink, commands."""
