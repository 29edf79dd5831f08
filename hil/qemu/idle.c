/*
 * Pace. A sleeping CPU (WFI) in counted time: QEMU hands over to its main loop, which moves the clock to the next timer
 * and wakes the CPU: two thread switches for each interrupt, the larger part of a run. Here the CPU's own thread
 * does the same steps. Time and order of events are the same; only the wall clock notices.
 *
 * Live (`live=on`), each virtual ms waits for the wall clock. When the host is late, virtual time is late with it
 * and catches up, by 5/4 of time at most: firmware and converters do not lose a sample by it, and no Box samples
 * four times as fast as its gateway may count on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/seqlock.h"
#include "block/aio.h"
#include "hw/core/cpu.h"
#include "system/accel-ops.h"
#include "system/cpu-timers.h"
#include "system/cpu-timers-internal.h"
#include "system/cpus.h"

#define TURNS 256 /* then the main loop has its turn: signals, character devices */

static OpqBox *the_box;
static bool looking;
static QEMUTimer *pacer;
static int64_t began_virtual_ns, began_real_ns;
static int64_t sprint_virtual_ns, sprint_real_ns, rest_until_ns;

#define PACE_NS 1000000
#define SPRINT_NS 200000000 /* at full speed at once, when late; a rest for each ms would cost a wake-up */

/* Of the wall clock. */
static int64_t ahead_ns(int64_t real_ns)
{
    return (opq_now_ns() - began_virtual_ns) - (real_ns - began_real_ns);
}

static int64_t to_wait_ns(int64_t real_ns)
{
    return MAX(ahead_ns(real_ns), rest_until_ns - real_ns);
}

/*
 * In the CPU's thread and outside of any timer: who stops the machine waits for timers, and we wait for its lock.
 * Several of these wait in line after a jump of virtual time: the first sleeps for all of them.
 */
static void keep_pace(CPUState *cpu, run_on_cpu_data nothing)
{
    int64_t wait = to_wait_ns(qemu_clock_get_ns(QEMU_CLOCK_REALTIME));

    if (wait > 0) {
        looking = true;
        bql_unlock();
        g_usleep(wait / 1000);
        bql_lock();
        looking = false;
    }
}

static void pace(void *opaque)
{
    int64_t now = opq_now_ns(), real = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    if (!began_real_ns) {
        began_real_ns = sprint_real_ns = real;
        began_virtual_ns = sprint_virtual_ns = now;
    }
    if (now - sprint_virtual_ns >= SPRINT_NS) {
        rest_until_ns = sprint_real_ns + (now - sprint_virtual_ns) * 4 / 5;
        sprint_real_ns = MAX(real, rest_until_ns);
        sprint_virtual_ns = now;
    }
    the_box->lag_ns = MAX(the_box->lag_ns, -ahead_ns(real));
    if (to_wait_ns(real) > 0) {
        async_run_on_cpu(CPU(the_box->armv7m.cpu), keep_pace, RUN_ON_CPU_NULL);
    }
    timer_mod(pacer, now + PACE_NS);
}

/*
 * The core stands still until `until_ns`, the rest of the chip does not: for an access that blocks. With
 * `interruptible` only until the core would take an interrupt: for a wait that firmware does by polling.
 */
void opq_pass_time(OpqBox *box, int64_t until_ns, bool interruptible)
{
    int64_t now;

    if (!icount_enabled()) {
        return; /* nobody can move the wall clock */
    }
    while ((now = opq_now_ns()) < until_ns && !box->ended) {
        int64_t deadline = qemu_clock_deadline_ns_all(QEMU_CLOCK_VIRTUAL, QEMU_TIMER_ATTR_ALL);
        int64_t step = deadline < 0 ? until_ns - now : MIN(deadline, until_ns - now);

        seqlock_write_lock(&timers_state.vm_clock_seqlock, &timers_state.vm_clock_lock);
        qatomic_set_i64(&timers_state.qemu_icount_bias, timers_state.qemu_icount_bias + step);
        seqlock_write_unlock(&timers_state.vm_clock_seqlock, &timers_state.vm_clock_lock);
        qemu_clock_run_timers(QEMU_CLOCK_VIRTUAL);
        if (interruptible && armv7m_nvic_can_take_pending_exception(&box->armv7m.nvic)) {
            break;
        }
    }
    cpu_exit(CPU(box->armv7m.cpu)); /* it may run until the next timer's time of before: that is nearer now */
}

static bool idle(CPUState *cpu)
{
    if (looking && !qemu_in_vcpu_thread()) {
        return false; /* the main loop, while the CPU's thread looks or waits: it is not asleep */
    }
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
    if (box->live) {
        if (!icount_enabled()) {
            error_report("live=on wants -icount shift=3,sleep=off");
            exit(1);
        }
        pacer = timer_new_ns(QEMU_CLOCK_VIRTUAL, pace, box);
        timer_mod(pacer, 0);
    }
    if (tcg) {
        ACCEL_OPS_CLASS(tcg)->cpu_thread_is_idle = idle;
    }
}
