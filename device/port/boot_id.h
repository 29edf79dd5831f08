// A number that names this start of the Box: blocks of different starts never mix (proto: Hello.boot_id).
#ifndef OPQ_BOOT_ID_H
#define OPQ_BOOT_ID_H

#include <stdint.h>

// Startup, before .bss is cleared: what SRAM holds is noise after power-on, the last run's leavings after a reset.
uint32_t opq_boot_noise(const uint32_t *from, const uint32_t *end);
void opq_boot_id_set(uint32_t noise); // right after .bss is cleared

uint32_t opq_boot_id(void); // 31 bits, never 0
#endif
