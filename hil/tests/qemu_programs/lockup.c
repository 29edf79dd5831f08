// A fault whose vector is nowhere: the core locks up.
#include "program.h"

int main(void) {
    SCB->VTOR = 0x30000000;
    *(volatile uint32_t *)0x60000000 = 1;
    return 0;
}
