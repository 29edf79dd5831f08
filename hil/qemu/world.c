/*
 * What happens outside the chip, in order of virtual time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"

#define PPS_HIGH_NS 100000000
enum { PPS_PORT = 0, PPS_PIN = 0 }; /* PA0, device/port/boards */

typedef struct { int64_t t_ns; OpqEventKind kind; int a, b; } Event;

struct OpqWorld {
    GArray *events; /* in order of time */
    guint at;
    QEMUTimer *timer;
    uint64_t seed, cut_after, pulses;
    OpqMains *mains;
    bool running;
};

uint64_t opq_random(uint64_t *state) /* splitmix64 (Steele, Lea, Flood 2014) */
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

uint64_t opq_world_seed(OpqBox *box, uint64_t salt) { return box->world->seed * 0x100000001B3 + salt; }
uint64_t opq_world_cut_after(OpqBox *box) { return box->world->cut_after; }
OpqMains *opq_world_mains(OpqBox *box) { return box->world->mains; }
uint64_t opq_world_pulses(OpqBox *box) { return box->world->pulses; }

static void happens(OpqBox *box, const Event *event)
{
    switch (event->kind) {
    case OPQ_PIN: opq_gpio_drive(box, event->a >> 4, event->a & 15, event->b, event->t_ns); break;
    case OPQ_PULSE:
        box->world->pulses += event->b;
        opq_gpio_drive(box, PPS_PORT, PPS_PIN, event->b, event->t_ns);
        break;
    case OPQ_ADC: box->adc.inputs[event->a] = event->b; break;
    case OPQ_PVD: opq_pwr_supply(box, event->b); break;
    case OPQ_BOOT0: box->boot0 = event->b; break;
    case OPQ_GO: opq_rom_go(box); break;
    case OPQ_CUT:
        opq_flash_cut(box);
        opq_end(box, "cut");
        break;
    case OPQ_END: opq_end(box, "end"); break;
    }
}

static void arm(OpqWorld *world)
{
    if (world->at < world->events->len) {
        timer_mod(world->timer, g_array_index(world->events, Event, world->at).t_ns);
    }
}

/* Everything that is due, each after what the chip did until then. */
void opq_world_run(OpqBox *box, int64_t now_ns)
{
    OpqWorld *world = box->world;

    if (world->running || world->at >= world->events->len ||
        g_array_index(world->events, Event, world->at).t_ns > now_ns) {
        return;
    }
    world->running = true;
    while (world->at < world->events->len && !box->ended) {
        const Event *event = &g_array_index(world->events, Event, world->at);
        if (event->t_ns > now_ns) {
            break;
        }
        world->at++;
        opq_chain_run(box, opq_tick_of_ns(event->t_ns));
        happens(box, event);
    }
    world->running = false;
    arm(world);
}

static void due(void *opaque)
{
    OpqBox *box = opaque;

    opq_sync(box);
    opq_chain_rearm(box, false);
}

void opq_world_add(OpqBox *box, int64_t t_ns, OpqEventKind kind, int a, int b)
{
    Event event = { t_ns, kind, a, b };

    g_array_append_val(box->world->events, event);
}

void opq_world_set_seed(OpqBox *box, uint64_t seed) { box->world->seed = seed; }
void opq_world_set_cut_after(OpqBox *box, uint64_t operation) { box->world->cut_after = operation; }

static gint by_time(gconstpointer a, gconstpointer b)
{
    const Event *first = a, *second = b;

    return first->t_ns < second->t_ns ? -1 : first->t_ns > second->t_ns;
}

/* Every pulse falls again, at the latest half way to the next. */
static void add_falls(OpqWorld *world)
{
    g_autoptr(GArray) falls = g_array_new(false, false, sizeof(Event));
    int64_t rose = -1;

    for (guint n = 0; n <= world->events->len; n++) {
        const Event *event = n < world->events->len ? &g_array_index(world->events, Event, n) : NULL;
        if (!event || event->kind == OPQ_PULSE) {
            if (rose >= 0) {
                int64_t high = event ? MIN(PPS_HIGH_NS, (event->t_ns - rose) / 2) : PPS_HIGH_NS;
                Event fall = { rose + high, OPQ_PULSE, 0, 0 };
                g_array_append_val(falls, fall);
            }
            rose = event ? event->t_ns : -1;
        }
    }
    g_array_append_vals(world->events, falls->data, falls->len);
    g_array_sort(world->events, by_time);
}

void opq_world_init(OpqBox *box)
{
    OpqWorld *world = g_new0(OpqWorld, 1);

    box->world = world;
    world->seed = 1;
    world->events = g_array_new(false, false, sizeof(Event));
    world->mains = opq_mains_new();
    world->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, due, box);
    if (box->world_file) {
        opq_world_read(box, box->world_file);
    }
    g_array_sort(world->events, by_time);
    add_falls(world);
    opq_usart_script_done(box);
    arm(world);
}
