// USART1 (bytes in by interrupt, out by waiting) and microseconds by TIM5, for the boot loader.
#ifndef OPQ_LINE_H
#define OPQ_LINE_H

#include <stddef.h>
#include <stdint.h>

void opq_line_start(void);   // 921,600 baud, 8N1
int32_t opq_line_take(void); // -1: nothing came; the CRC of the frame shows a lost byte
void opq_line_send(void *context, const uint8_t *bytes, size_t length);
void opq_line_end(void);     // waits for the last bit and resets the pins

void opq_line_wait(void);    // sleeps until a byte comes, a millisecond at most

void opq_micros_start(void);
uint32_t opq_micros(void);
void opq_micros_end(void);

#endif
