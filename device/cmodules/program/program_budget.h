// The time that a user's program may take: SysTick counts it, and interrupts the program's byte code.
#ifndef OPQ_PROGRAM_BUDGET_H
#define OPQ_PROGRAM_BUDGET_H

#include <stdbool.h>

// The time is over: from now on each jump of the byte code raises KeyboardInterrupt, so that a program which catches
// it in a loop leaves the loop as well.
extern volatile bool opq_program_over;

// Main thread: whether a program's call is under way.
bool opq_program_is_called(void);

// Interrupt context (SysTick), every 1 ms: integers only, bounded.
void opq_program_each_ms(void);

#endif
