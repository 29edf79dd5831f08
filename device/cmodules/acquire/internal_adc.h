// ADC1 of the STM32F405: the mains on its regular group, the slow channels on its injected group.
//
// ADC clock: 84 MHz / 6 = 14 MHz. One conversion of the mains takes 28 + 12 cycles = 2.86 us, one of a slow channel
// 144 + 12 = 11.1 us, sampled for 10.3 us (DS8626: TS_temp and TS_vrefint are 10 us). Both
// together fit into the 16.7 us of oversampling 5 and not into the 11.9 us of 7: so 5 is the maximum.
#ifndef OPQ_INTERNAL_ADC_H
#define OPQ_INTERNAL_ADC_H

#include <stdbool.h>
#include <stdint.h>

// ADC1 on, injected group ready; `beside_mains`: the mains use the same converter. Task context.
void opq_slow_begin(bool beside_mains, uint32_t oversampling);
// Interrupt context, once per half buffer: reads the finished conversion and starts the next one, if it ends in time.
void opq_slow_on_half(void);

#endif
