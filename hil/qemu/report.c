/*
 * The account at the end of a run, as JSON: why it ended, what each model counted, what the firmware touched
 * that no model has, and what it did that silicon would not have liked.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"
#include "qemu/error-report.h"
#include "system/cpu-timers.h"

#define PINS_KEPT 20000

typedef struct { uint32_t address, last; const char *block; uint64_t reads, writes; } Unmodelled;
typedef struct { const char *what; uint64_t times; int64_t first_ns; } Violation;

struct OpqReport {
    GArray *unmodelled, *violations; /* short lists, in order of first appearance */
    GString *pins, *resets;
    uint64_t pins_kept, pins_lost, resets_seen;
};

void opq_report_init(OpqBox *box)
{
    OpqReport *report = g_new0(OpqReport, 1);

    report->unmodelled = g_array_new(false, true, sizeof(Unmodelled));
    report->violations = g_array_new(false, true, sizeof(Violation));
    report->pins = g_string_new("");
    report->resets = g_string_new("");
    box->report = report;
}

void opq_report_unmodelled(OpqBox *box, const char *block, uint32_t address, bool write, uint32_t value)
{
    GArray *list = box->report->unmodelled;
    Unmodelled *entry = NULL, fresh = { .address = address, .block = block };

    for (guint n = 0; n < list->len && !entry; n++) {
        if (g_array_index(list, Unmodelled, n).address == address) {
            entry = &g_array_index(list, Unmodelled, n);
        }
    }
    if (!entry) {
        g_array_append_val(list, fresh);
        entry = &g_array_index(list, Unmodelled, list->len - 1);
    }
    entry->reads += !write;
    entry->writes += write;
    entry->last = write ? value : entry->last;
}

void opq_violation(OpqBox *box, const char *what)
{
    GArray *list = box->report->violations;
    Violation fresh = { NULL, 1, opq_now_ns() };

    for (guint n = 0; n < list->len; n++) {
        if (!strcmp(g_array_index(list, Violation, n).what, what)) {
            g_array_index(list, Violation, n).times++;
            return;
        }
    }
    fresh.what = g_strdup(what);
    g_array_append_val(list, fresh);
}

void opq_report_pin(OpqBox *box, char port, int pin, bool level)
{
    OpqReport *report = box->report;

    if (report->pins_kept < PINS_KEPT) {
        g_string_append_printf(report->pins, "%s\n    [%" PRId64 ", \"%c%d\", %d]", report->pins_kept ? "," : "",
                               opq_now_ns(), port, pin, level);
        report->pins_kept++;
    } else {
        report->pins_lost++;
    }
}

void opq_report_reset(OpqBox *box, const char *cause)
{
    g_string_append_printf(box->report->resets, "%s\n    [%" PRId64 ", \"%s\"]", box->report->resets_seen++ ? "," : "",
                           opq_now_ns(), cause);
}

typedef struct { const char *name; uint64_t value; } Counter;

static void counters(GString *out, const char *name, const Counter *counter, size_t count)
{
    g_string_append_printf(out, ",\n  \"%s\": {", name);
    for (size_t n = 0; n < count; n++) {
        g_string_append_printf(out, "%s\"%s\": %" PRIu64, n ? ", " : "", counter[n].name, counter[n].value);
    }
    g_string_append(out, "}");
}
#define COUNTERS(out, name, ...)                                        \
    do {                                                                \
        const Counter list[] = { __VA_ARGS__ };                         \
        counters(out, name, list, ARRAY_SIZE(list));                    \
    } while (0)

static void models(OpqBox *box, GString *out)
{
    OpqAdc *adc = &box->adc;
    OpqSpi *spi = &box->spi2;
    OpqFlash *flash = &box->flash_if;

    COUNTERS(out, "adc1", { "conversions", adc->conversions }, { "injected", adc->injected },
             { "missed", adc->missed }, { "overruns", adc->overruns }, { "preempted", adc->preempted },
             { "delayed", adc->delayed }, { "ignored", adc->ignored });
    COUNTERS(out, "spi2", { "conversions", spi->conversions }, { "frames", spi->frames },
             { "overruns", spi->overruns }, { "too_early", spi->too_early }, { "unread", spi->unread });
    for (int n = 0; n < 4; n++) {
        g_autofree char *name = g_strdup_printf("tim%d", n + 2);
        OpqTimer *timer = &box->timer[n];
        COUNTERS(out, name, { "updates", timer->updates }, { "captures1", timer->captures[0] },
                 { "overcaptures1", timer->overcaptures[0] }, { "captures2", timer->captures[1] });
    }
    for (int unit = 0; unit < 2; unit++) {
        for (int n = 0; n < 8; n++) {
            OpqDmaStream *stream = &box->dma[unit].stream[n];
            if (stream->transfers) {
                g_autofree char *name = g_strdup_printf("dma%d_stream%d", unit + 1, n);
                COUNTERS(out, name, { "transfers", stream->transfers }, { "unserviced", stream->unserviced });
            }
        }
    }
    for (int n = 0; n < 2; n++) {
        OpqUsart *usart = &box->usart[n];
        COUNTERS(out, n ? "usart2" : "usart1", { "tx_bytes", usart->tx_bytes }, { "rx_bytes", usart->rx_bytes },
                 { "overruns", usart->overruns }, { "noised_tx", usart->noised_tx },
                 { "noised_rx", usart->noised_rx }, { "lost", usart->lost_off });
    }
    COUNTERS(out, "flash", { "programs", flash->programs }, { "erases", flash->erases },
             { "operations", flash->operations }, { "option_writes", flash->option_writes }, { "errors", flash->errors },
             { "refused_bits", flash->refused_bits }, { "stalls", flash->stalls }, { "stall_ns", flash->stall_ns });
    for (int n = 0; n < 12; n++) {
        g_string_append_printf(out, "%s%u", n ? ", " : ",\n  \"erased\": [", flash->erased[n]);
    }
    g_string_append(out, "]");
    COUNTERS(out, "iwdg", { "resets", box->iwdg.resets }, { "reloads", box->iwdg.reloads });
    COUNTERS(out, "world", { "pulses", opq_world_pulses(box) });
}

void opq_report_write(OpqBox *box, const char *reason)
{
    OpqReport *report = box->report;
    g_autoptr(GString) out = g_string_new("{\n");
    g_autoptr(GError) error = NULL;

    if (!box->report_file) {
        return;
    }
    g_string_append_printf(out, "  \"end\": \"%s\",\n  \"virtual_ns\": %" PRId64, reason, opq_now_ns());
    if (icount_enabled()) {
        g_string_append_printf(out, ",\n  \"instructions\": %" PRId64, icount_get_raw());
    }
    if (box->live) {
        g_string_append_printf(out, ",\n  \"lag_ns\": %" PRId64, box->lag_ns);
    }
    g_string_append_printf(out, ",\n  \"hclk_hz\": %u", box->rcc.hclk_hz);
    models(box, out);
    g_string_append_printf(out, ",\n  \"resets\": [%s]", report->resets->str);
    g_string_append(out, ",\n  \"unmodelled\": [");
    for (guint n = 0; n < report->unmodelled->len; n++) {
        Unmodelled *entry = &g_array_index(report->unmodelled, Unmodelled, n);
        g_string_append_printf(out, "%s\n    {\"address\": \"0x%08X\", \"block\": \"%s\", \"reads\": %" PRIu64
                               ", \"writes\": %" PRIu64 ", \"last\": \"0x%08X\"}", n ? "," : "", entry->address,
                               entry->block ? entry->block : "", entry->reads, entry->writes, entry->last);
    }
    g_string_append(out, "],\n  \"violations\": [");
    for (guint n = 0; n < report->violations->len; n++) {
        Violation *entry = &g_array_index(report->violations, Violation, n);
        g_string_append_printf(out, "%s\n    {\"what\": \"%s\", \"times\": %" PRIu64 ", \"first_ns\": %" PRId64 "}",
                               n ? "," : "", entry->what, entry->times, entry->first_ns);
    }
    g_string_append_printf(out, "],\n  \"pins_lost\": %" PRIu64 ",\n  \"pins\": [%s]\n}\n", report->pins_lost,
                           report->pins->str);
    if (!g_file_set_contents(box->report_file, out->str, out->len, &error)) {
        error_report("report: %s", error->message);
    }
}
