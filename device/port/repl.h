// Whether somebody wants the prompt: by the pin, by a wish that outlives a reset, or from the app.
#ifndef OPQ_REPL_H
#define OPQ_REPL_H

#include <stdbool.h>

bool opq_repl_wanted(void);
void opq_repl_ask(void); // from now on; main goes to the prompt as soon as the app has ended

#endif
