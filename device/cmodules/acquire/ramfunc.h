// Code that runs from RAM, so that it goes on while flash is erased (RM0090 3.5: an erase stalls all fetches
// from flash). The port's linker script puts .ramfunc with .data.
#ifndef OPQ_RAMFUNC_H
#define OPQ_RAMFUNC_H

// Functions that such code calls are in RAM too, or always inlined (a test checks the objects).
#define OPQ_RAMINLINE static inline __attribute__((always_inline))

#ifdef __arm__
#define OPQ_RAMFUNC __attribute__((section(".ramfunc"), noinline, long_call))
#else
#define OPQ_RAMFUNC
#endif

#endif
