"""Harmonics, interharmonics, signalling and the bands above them, of IEC 61000-4-7."""
