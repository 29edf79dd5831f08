"""Causes of disturbances, as far as voltage shows them: traits of one waveform, dip types of three phases."""
