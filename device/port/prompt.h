// A prompt over the link: MicroPython's REPL in a step of the app, whose other steps go on in between.
#ifndef OPQ_PROMPT_H
#define OPQ_PROMPT_H

#include <stdbool.h>
#include <stdint.h>

// Whether `opq_prompt_attend` has something to do: read at each jump of the byte code.
extern volatile bool opq_prompt_due;

// Main thread, between two byte codes or while Python waits: a round of the app, if one is due.
void opq_prompt_attend(void);

// Main thread: whether a session's own code runs: neither the app's nor box.py's.
bool opq_prompt_is_in_control(void);

// Interrupt context (SysTick), every 1 ms: integers only, bounded.
void opq_prompt_each_ms(void);

// Main thread: the next byte of the session's input; -1: none. Raises SystemExit if the session is over.
int opq_prompt_take_byte(void);

// Main thread: whether input waits.
bool opq_prompt_has_input(void);

// Main thread, while the output is full: waits for at most 1 ms, with rounds of the app. False: nobody fetches it.
bool opq_prompt_wait(void);

#endif
