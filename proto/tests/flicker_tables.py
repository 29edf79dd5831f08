"""The test tables of IEC 61000-4-15:2010 (edition 2): fluctuations that make Pinst or Pst 1.

Sources of the numbers, since the standard's own text was not available:

- Tables 1a, 1b, 2a, 2b and 5, all four lamps: a verification script of the Czech Metrology Institute
  (verify_flicker_sim.m of its QWTB toolbox, "edition 2 (2010)"). That they fit the standard's own filter to
  their last digit is shown by what test_measure_flicker_tables.py finds.
- Harmonics with side band: 3.611 % (230 V) and 4.126 % (120 V), at 10 Hz below the harmonic, are in Fluke's
  manual of the 6105A standard (table 4-6); they are also sqrt(d / 2) of the 10 Hz row of table 1.
- Phase jumps: their moments are in the same manual. The four values of Pst, the two voltages of the combined
  test and the harmonics of the distorted voltage are from memory; the Pst and voltages fit the standard's own
  filter to their last digit or two, the harmonics only have to change nothing.
- One misprint may be in the script: 39 changes per minute at 120 V and 60 Hz are 1.040 % there and 1.045 % at
  50 Hz, where 1.045 % fits both to 0.1 %. The script's value is kept.
- The rectangular fluctuation with 20 % duty cycle is missing: its percentages could not be found.
"""

from dataclasses import dataclass

from opq_measure.flicker.lamps import LAMP_120V, LAMP_120V_50HZ, LAMP_230V, LAMP_230V_60HZ, Lamp

Row = tuple[float, float]
"""Hz (or changes per minute), percent peak to peak."""

_HALVES = tuple(k / 2 for k in range(1, 17))
_SINE_HZ = (*_HALVES, 8.8, 9.5, 10.0, 10.5, 11.0, 11.5, *(float(k) for k in range(12, 26)), 100 / 3)
_RECTANGLE_HZ = (
    *(*_HALVES, 8.8, 9.5, 10.0, 10.5, 11.0, 11.5, *(float(k) for k in range(12, 22)), 21.5),
    *(22.0, 23.0, 24.0, 25.0, 25.5, 28.0, 30.5, 100 / 3),
)


def _rows(hz: tuple[float, ...], percents: str) -> tuple[Row, ...]:
    return tuple(zip(hz, (float(word) for word in percents.split()), strict=True))


_SLOW_230V = "2.325 1.397 1.067 .879 .747 .645 .564 .497 .442 .396 .357 .325 .3 .28 .265 .256 .25 .254 .261 "
_SLOW_120V = (
    "2.453 1.465 1.126 .942 .815 .717 .637 .57 .514 .466 .426 .393 .366 .346 .332 .323 .321 .329 .341 "
)

SINE: dict[Lamp, tuple[Row, ...]] = {
    LAMP_230V: _rows(
        _SINE_HZ,
        _SLOW_230V
        + ".271 .283 .298 .314 .351 .393 .438 .486 .537 .59 .646 .704 .764 .828 .894 .964 1.037 2.128",
    ),
    LAMP_230V_60HZ: _rows(
        (*_SINE_HZ, 40.0),
        _SLOW_230V
        + ".271 .283 .298 .314 .351 .393 .438 .486 .537 .59 .645 .703 .764 .826 .892 .959 1.029 1.758 "
        "2.963",
    ),
    LAMP_120V: _rows(
        (*_SINE_HZ, 40.0),
        _SLOW_120V
        + ".355 .373 .394 .417 .469 .528 .592 .66 .734 .811 .892 .977 1.067 1.16 1.257 1.359 1.464 2.57 "
        "4.393",
    ),
    LAMP_120V_50HZ: _rows(
        _SINE_HZ,
        _SLOW_120V
        + ".355 .373 .394 .417 .469 .528 .592 .66 .734 .811 .892 .978 1.068 1.162 1.261 1.365 1.476 "
        "3.111",
    ),
}
"""Tables 1a and 1b: sinusoidal, Pinst,max = 1.00 within 8 %."""

RECTANGLE: dict[Lamp, tuple[Row, ...]] = {
    LAMP_230V: _rows(
        _RECTANGLE_HZ,
        ".509 .467 .429 .398 .37 .352 .342 .332 .312 .291 .268 .248 .231 .216 .207 .199 .196 .199 .203 "
        ".212 .222 .233 .245 .272 .308 .341 .376 .411 .446 .497 .553 .585 .592 .612 .68 .743 .764 .806 "
        ".915 .847 1.671",
    ),
    LAMP_230V_60HZ: _rows(
        (*_RECTANGLE_HZ, 37.0, 40.0),
        ".51 .468 .429 .399 .371 .351 .342 .331 .313 .291 .269 .249 .231 .217 .206 .2 .196 .199 .203 .212 "
        ".222 .233 .244 .275 .306 .338 .376 .42 .457 .498 .537 .584 .6 .611 .678 .753 .778 .768 .962 "
        "1.105 1.258 .975 2.327",
    ),
    LAMP_120V: _rows(
        (*_RECTANGLE_HZ, 37.0, 40.0),
        ".598 .548 .503 .469 .439 .419 .408 .394 .373 .348 .324 .302 .283 .269 .258 .253 .252 .258 .266 "
        ".278 .292 .308 .324 .367 .411 .457 .509 .575 .626 .688 .746 .815 .837 .851 .946 1.067 1.088 "
        "1.072 1.383 1.602 1.823 1.304 3.451",
    ),
    LAMP_120V_50HZ: _rows(
        _RECTANGLE_HZ,
        ".597 .547 .503 .468 .438 .42 .408 .394 .372 .348 .323 .302 .283 .269 .259 .253 .252 .258 .265 "
        ".278 .293 .308 .325 .363 .413 .46 .511 .562 .611 .683 .768 .811 .82 .852 .957 1.052 1.087 1.148 "
        "1.303 1.144 2.443",
    ),
}
"""Tables 2a and 2b: rectangular, Pinst,max = 1.00 within 8 %."""

_CHANGES_50HZ = (1.0, 2.0, 7.0, 39.0, 110.0, 1620.0, 4000.0)
_CHANGES_60HZ = (1.0, 2.0, 7.0, 39.0, 110.0, 1620.0, 4800.0)

CHANGES: dict[Lamp, tuple[Row, ...]] = {
    LAMP_230V: _rows(_CHANGES_50HZ, "2.715 2.191 1.450 0.894 0.722 0.407 2.343"),
    LAMP_230V_60HZ: _rows(_CHANGES_60HZ, "2.719 2.194 1.450 0.895 0.723 0.409 3.263"),
    LAMP_120V: _rows(_CHANGES_60HZ, "3.181 2.564 1.694 1.040 0.844 0.548 4.837"),
    LAMP_120V_50HZ: _rows(_CHANGES_50HZ, "3.178 2.561 1.694 1.045 0.844 0.545 3.426"),
}
"""Table 5: rectangular, changes per minute (two a period), Pst = 1.00 within 5 %."""


@dataclass(frozen=True, slots=True)
class Performance:
    """The performance tests of the two usual lamps."""

    lower_v: float
    """Combined changes: 4 s of nominal voltage 0.25 Hz below nominal, 4 s of this 0.25 Hz above, and so on:
    Pinst,max = 1.00."""
    side_band_percent: float
    """Harmonic and interharmonic each, 10 Hz apart: Pinst,max = 1.00."""
    jump_pst: dict[float, float]
    """Degrees of each of five phase jumps (1, 3, 5, 7, 9 min, at rising zero crossings) -> Pst within 5 %."""


PERFORMANCE: dict[Lamp, Performance] = {
    LAMP_230V: Performance(228.812, 3.611, {30.0: 0.913, 45.0: 1.060}),
    LAMP_120V: Performance(119.266, 4.126, {30.0: 0.587, 45.0: 0.681}),
}

DISTORTION: dict[int, float] = {
    **{3: 5.0, 5: 6.0, 7: 5.0, 9: 1.5, 11: 3.5, 13: 3.0},
    **{17: 2.0, 19: 1.76, 23: 1.41, 25: 1.27, 29: 1.06, 31: 0.97},
}
"""Order -> percent of the fundamental, all at 180 degrees: several zero crossings in a cycle. The fluctuation
that is just felt at 8.8 Hz shall be felt as much on it: Pinst,max = 1.00."""
