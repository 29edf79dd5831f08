// USART1 by polling, and microseconds by TIM5: all that the boot loader needs of the board's clockwork.
#ifndef OPQ_LINE_H
#define OPQ_LINE_H

#include <stddef.h>
#include <stdint.h>

void opq_line_start(void);   // 921,600 baud, 8N1
int32_t opq_line_take(void); // -1: nothing came; an overrun byte is lost, the frame's CRC finds that
void opq_line_send(void *context, const uint8_t *bytes, size_t length);
void opq_line_end(void);     // waits for the last bit and gives the pins back

void opq_micros_start(void);
uint32_t opq_micros(void);
void opq_micros_end(void);

#endif
