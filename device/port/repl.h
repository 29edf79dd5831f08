// Whether the prompt is requested: by the pin, by a message from before the reset, or by the app.
#ifndef OPQ_REPL_H
#define OPQ_REPL_H

#include <stdbool.h>

bool opq_repl_wanted(void);
void opq_repl_request(void); // main goes to the prompt as soon as the app has ended

#endif
