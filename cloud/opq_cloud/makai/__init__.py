"""Makai: decides when raw waveforms are worth fetching, fetches and stores them."""
