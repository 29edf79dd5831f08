"""What made a disturbance, as far as voltage shows it: traits of one waveform, dip types of three phases."""
