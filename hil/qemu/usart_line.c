/*
 * What becomes of a byte that left a USART: noise, the log with its time, the character device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"
#include "qemu/error-report.h"

#define OUTGOING_LIMIT 262144 /* 2.8 s of the link; beyond it bytes are lost, as on a cable */

static FILE *log_file; /* of USART1: lines "t_ns hex", the time of the last byte's end */
static GByteArray *log_line;
static int64_t log_ns;

static void log_end_line(void)
{
    if (log_file && log_line->len) {
        fprintf(log_file, "%" PRId64 " ", log_ns);
        for (guint n = 0; n < log_line->len; n++) {
            fprintf(log_file, "%02x", log_line->data[n]);
        }
        fputc('\n', log_file);
        g_byte_array_set_size(log_line, 0);
    }
}

static void log_byte(int64_t t_ns, uint8_t byte)
{
    if (log_file) {
        if (t_ns - log_ns > 50000) {
            log_end_line();
        }
        g_byte_array_append(log_line, &byte, 1);
        log_ns = t_ns;
        if (byte == 0 || log_line->len >= 256) { /* a frame of the link ends with 0 */
            log_end_line();
        }
    }
}

void opq_usart_flush(OpqBox *box)
{
    log_end_line();
    if (log_file) {
        fflush(log_file);
    }
}

bool opq_line_noised(uint32_t ppb, uint64_t *state, uint8_t *byte)
{
    uint64_t draw;

    if (ppb == 0) {
        return false;
    }
    draw = opq_random(state);
    if ((draw >> 8) % 1000000000 >= ppb) {
        return false;
    }
    *byte ^= 1u << (draw & 7);
    return true;
}

static gboolean may_write(void *unused, GIOCondition condition, void *opaque)
{
    OpqUsart *usart = opaque;
    int sent = qemu_chr_fe_write(&usart->chr, usart->outgoing->data, usart->outgoing->len);

    if (sent > 0) {
        g_byte_array_remove_range(usart->outgoing, 0, sent);
    }
    usart->watch = usart->outgoing->len ? usart->watch : 0;
    return usart->outgoing->len != 0;
}

/* To the character device, and to whoever reads the log. */
void opq_line_leaves(OpqBox *box, int index, uint8_t byte, int64_t t_ns)
{
    OpqUsart *usart = &box->usart[index];

    usart->tx_bytes++;
    usart->noised_tx += opq_line_noised(usart->noise_tx_ppb, &usart->noise_tx_state, &byte);
    if (index == 0) {
        log_byte(t_ns, byte);
    }
    if (!qemu_chr_fe_backend_connected(&usart->chr)) {
        return;
    }
    if (!box->live) {
        qemu_chr_fe_write_all(&usart->chr, &byte, 1);
    } else if (usart->outgoing->len < OUTGOING_LIMIT) {
        g_byte_array_append(usart->outgoing, &byte, 1);
        if (!usart->watch && may_write(NULL, G_IO_OUT, usart)) {
            usart->watch = qemu_chr_fe_add_watch(&usart->chr, G_IO_OUT | G_IO_HUP, may_write, usart);
            usart->lost_off += usart->watch ? 0 : usart->outgoing->len; /* nobody has the other end open */
            g_byte_array_set_size(usart->outgoing, usart->watch ? usart->outgoing->len : 0);
        }
    } else {
        usart->lost_off++;
    }
}

void opq_line_log(const char *path)
{
    if (path) {
        log_file = fopen(path, "w");
        if (!log_file) {
            error_report("uart1-log: %s: %s", path, strerror(errno));
            exit(1);
        }
        log_line = g_byte_array_new();
    }
}
