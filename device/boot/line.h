// USART1 (bytes in by interrupt, out by waiting) and microseconds by TIM5: all the clockwork the boot loader needs.
#ifndef OPQ_LINE_H
#define OPQ_LINE_H

#include <stddef.h>
#include <stdint.h>

void opq_line_start(void);   // 921,600 baud, 8N1
int32_t opq_line_take(void); // -1: nothing came; a byte that was lost is found by the frame's CRC
void opq_line_send(void *context, const uint8_t *bytes, size_t length);
void opq_line_end(void);     // waits for the last bit and gives the pins back

void opq_line_wait(void);    // sleeps until a byte came, a millisecond at most

void opq_micros_start(void);
uint32_t opq_micros(void);
void opq_micros_end(void);

#endif
