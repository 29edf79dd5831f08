// Monocypher's one file, for the PC's tests; it is written without -Wconversion.
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include OPQ_MONOCYPHER_C
