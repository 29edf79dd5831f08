// The analogue front end of device/analogue, in samples: volts of a count, the range in which every stage is linear, and the
// noise before the converter, rms in 0 to 3 kHz.
//
// device/analogue/check.py computes these numbers from the parts list, and its test compares them. A board with another
// front end has its own in its board.toml.
#ifndef OPQ_FRONT_END_H
#define OPQ_FRONT_END_H

#include "board.h"

// External converter. The isolation amplifier is specified to +-5 V, which is 612 V at the line; the driver's rail is at
// 627 V or more and the converter's last code at 705 V. With all tolerances a sample below 28,300 (609 V) is linear.
#ifndef OPQ_BOARD_EXTERNAL_V_PER_LSB
#define OPQ_BOARD_EXTERNAL_V_PER_LSB 0.021505f
#define OPQ_BOARD_EXTERNAL_LINEAR_LSB 28300
#define OPQ_BOARD_EXTERNAL_NOISE_LSB 1.10f
#endif

// Internal converter: its 12 bits are the upper ones of a sample.
#ifndef OPQ_BOARD_INTERNAL_V_PER_LSB
#define OPQ_BOARD_INTERNAL_V_PER_LSB 0.020059f
#define OPQ_BOARD_INTERNAL_LINEAR_LSB 29700
#define OPQ_BOARD_INTERNAL_NOISE_LSB 1.18f
#endif

#endif
