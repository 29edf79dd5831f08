"""Makai: decides which raw waveforms to request, requests and stores them."""
