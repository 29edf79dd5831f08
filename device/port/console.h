// Python's stdin and stdout. While USART1 carries the link, printed text goes into a small ring that loses the oldest
// bytes. The prompt shows it when it gets the line, for example an old traceback.
#ifndef OPQ_CONSOLE_H
#define OPQ_CONSOLE_H

#include <stddef.h>
#include <stdint.h>

// Task context, until the next reset: USART1 leaves the link and serves the prompt.
void opq_console_take_line(void);

// Bytes that were overwritten by newer ones before they were shown.
uint32_t opq_console_lost_bytes(void);

// Task context: printed text for a prompt over the link (prompt.c); returns how many bytes.
size_t opq_console_take(uint8_t *text, size_t room);

#endif
