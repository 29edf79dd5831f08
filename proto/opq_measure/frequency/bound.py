"""The Cramer-Rao bound: the best accuracy of a frequency from noisy samples.

Source: S. M. Kay, Fundamentals of Statistical Signal Processing I (1993), 3.9 and 3.11. The well known
`sqrt(6 / (eta N^3))` is for complex exponentials and too small by sqrt(2) for the real samples of a
converter.
"""

import numpy as np


def bound_hz(
    samples: int,
    rate_hz: float,
    frequency_hz: float,
    signal_to_noise_db: float,
    phase_rad: float = 0.0,
    unknown_orders: int = 1,
    known_dc: bool = False,
) -> float:
    """Least standard deviation of the frequency of a real sinusoid in white Gaussian noise.

    Computed from the inverse of the Fisher matrix over frequency, amplitude, phase, DC (unless known) and
    cosine and sine of the orders 2 .. `unknown_orders`.

    Args:
        signal_to_noise_db: power of the fundamental over the power of the noise in the whole band.
        phase_rad: phase of the cosine in the middle of the samples.
    """
    angle = 2 * np.pi * frequency_hz / rate_hz * (np.arange(samples) - (samples - 1) / 2)
    slope = -(angle / frequency_hz) * np.sin(angle + phase_rad)
    rest = [np.cos(angle + phase_rad), np.sin(angle + phase_rad)]
    rest += [np.ones(samples)] * (not known_dc)
    for order in range(2, unknown_orders + 1):
        rest += [np.cos(order * angle), np.sin(order * angle)]
    basis, _ = np.linalg.qr(np.column_stack(rest))
    free = slope - basis @ (basis.T @ slope)
    noise = 10 ** (-signal_to_noise_db / 20) / np.sqrt(2)
    return float(noise / np.sqrt(free @ free))
