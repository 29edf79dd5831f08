// The number of this start of the Box, so that blocks of different starts are kept apart (proto: Hello.boot_id).
#ifndef OPQ_BOOT_ID_H
#define OPQ_BOOT_ID_H

#include <stdint.h>

// Startup, before .bss is cleared: SRAM has noise after power-on, and data of the last run after a reset.
uint32_t opq_boot_noise(const uint32_t *from, const uint32_t *end);
void opq_boot_id_set(uint32_t noise); // right after .bss is cleared

uint32_t opq_boot_id(void); // 31 bits, never 0
#endif
