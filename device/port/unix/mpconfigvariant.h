// As the Box's (../mpconfigport.h), with files and with single precision, so that floats are the same as in the Box.
#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)
#define MICROPY_FLOAT_IMPL (MICROPY_FLOAT_IMPL_FLOAT)
#define MICROPY_MODULE_BUILTIN_SUBPACKAGES (1) // `import opq.dsp`
#include "variants/mpconfigvariant_common.h"
