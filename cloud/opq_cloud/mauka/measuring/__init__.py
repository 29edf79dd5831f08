"""What the analyses measure of waveforms, and what several waveforms of one disturbance show. Pure."""
