"""Measurements of waveforms for the analyses, and of one disturbance in several waveforms. Pure."""
