// Python's stdin and stdout. While USART1 carries the link, what is printed goes into a small ring, oldest out first;
// the prompt, once it has the line, shows it: the traceback of an hour ago.
#ifndef OPQ_CONSOLE_H
#define OPQ_CONSOLE_H

#include <stdint.h>

// Task context, for good until the next reset: USART1 leaves the link and serves the prompt.
void opq_console_take_line(void);

// Bytes that gave way to newer ones while nobody could see them.
uint32_t opq_console_lost_bytes(void);

#endif
