/*
 * A sleeping CPU (WFI) in counted time: QEMU hands over to its main loop, which moves the clock to the next timer
 * and wakes the CPU: two thread switches for each interrupt, the larger part of a run. Here the CPU's own thread
 * does the same steps. Time and order of events are the same; only the wall clock notices.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"
#include "block/aio.h"
#include "hw/core/cpu.h"
#include "system/accel-ops.h"
#include "system/cpu-timers.h"
#include "system/cpus.h"
#include "qemu/main-loop.h"

#define TURNS 256 /* then the main loop has its turn: signals, character devices */

static OpqBox *the_box;
static bool looking;

static bool idle(CPUState *cpu)
{
    if (looking || the_box->ended || !icount_enabled() || !qemu_in_vcpu_thread()) {
        return true;
    }
    looking = true;
    for (int turn = 0; turn < TURNS && !the_box->ended && !cpu->stop && !cpu_has_work(cpu); turn++) {
        int64_t before = opq_now_ns();

        icount_start_warp_timer();
        if (opq_now_ns() == before && qemu_clock_deadline_ns_all(QEMU_CLOCK_VIRTUAL, QEMU_TIMER_ATTR_ALL) != 0) {
            break; /* sleep=on, or no timer at all: QEMU's own way */
        }
        qemu_clock_run_timers(QEMU_CLOCK_VIRTUAL);
        if (!cpu_work_list_empty(cpu)) {
            break;
        }
    }
    looking = false;
    return !cpu_has_work(cpu) && cpu_work_list_empty(cpu);
}

static void nobody(void *opaque, QEMUClockType type)
{
}

/*
 * Each timer that is due in counted time also wakes the main loop, for timers of block devices; there are none.
 * A list without a bell takes the place of theirs.
 */
static void silence(AioContext *context)
{
    QEMUTimerList *loud = context->tlg.tl[QEMU_CLOCK_VIRTUAL];

    if (!timerlist_has_timers(loud)) {
        context->tlg.tl[QEMU_CLOCK_VIRTUAL] = timerlist_new(QEMU_CLOCK_VIRTUAL, nobody, NULL);
        timerlist_free(loud);
    }
}

void opq_idle_init(OpqBox *box)
{
    ObjectClass *tcg = object_class_by_name(ACCEL_OPS_NAME("tcg"));

    the_box = box;
    if (icount_enabled()) {
        silence(qemu_get_aio_context());
    }
    if (tcg) {
        ACCEL_OPS_CLASS(tcg)->cpu_thread_is_idle = idle;
    }
}
