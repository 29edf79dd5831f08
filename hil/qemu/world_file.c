/*
 * The world file: one event per line, times in virtual ns (README.md has the list). Read whole before anything
 * starts; a bad line ends the process with its number.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"
#include "qemu/error-report.h"
#include "qemu/cutils.h"

typedef struct {
    OpqBox *box;
    const char *path;
    int line;
    char **words;
    guint count;
} Reader;

static G_NORETURN void G_GNUC_PRINTF(2, 3) wrong(const Reader *reader, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    error_report("%s:%d: %s", reader->path, reader->line, text);
    exit(1);
}

static int64_t number(const Reader *reader, guint n, int64_t least, int64_t most)
{
    int64_t value;
    const char *end;

    if (qemu_strtoi64(reader->words[n], &end, 10, &value) || *end) {
        wrong(reader, "%s: word %u is '%s', want a whole number", reader->words[0], n + 1, reader->words[n]);
    }
    if (value < least || value > most) {
        wrong(reader, "%s: word %u is %" PRId64 ", want %" PRId64 " to %" PRId64, reader->words[0], n + 1, value,
              least, most);
    }
    return value;
}

static int64_t when(const Reader *reader, guint n) { return number(reader, n, 0, INT64_MAX / 32); }

static int choice(const Reader *reader, guint n, const char *const *names)
{
    for (int index = 0; names[index]; index++) {
        if (!strcmp(reader->words[n], names[index])) {
            return index;
        }
    }
    wrong(reader, "%s: word %u is '%s', want %s or %s", reader->words[0], n + 1, reader->words[n], names[0], names[1]);
}

static const char *const inputs[] = { "adc1", "spi2", NULL };
static const char *const usarts[] = { "usart1", "usart2", NULL };
static const char *const ways[] = { "tx", "rx", NULL };

static char *beside(const Reader *reader, const char *name)
{
    g_autofree char *folder = g_path_get_dirname(reader->path);

    return g_path_is_absolute(name) ? g_strdup(name) : g_build_filename(folder, name, NULL);
}

static void bytes(const Reader *reader, int index, int64_t t_ns, const char *hex)
{
    size_t size = strlen(hex) / 2;
    g_autofree uint8_t *data = g_malloc(size + 1);

    if (strlen(hex) % 2 || strspn(hex, "0123456789abcdefABCDEF") != strlen(hex)) {
        wrong(reader, "bytes: '%.20s' is no even number of hexadecimal digits", hex);
    }
    for (size_t n = 0; n < size; n++) {
        data[n] = g_ascii_xdigit_value(hex[2 * n]) << 4 | g_ascii_xdigit_value(hex[2 * n + 1]);
    }
    opq_usart_script(reader->box, index, t_ns, data, size);
}

static void do_mains(const Reader *reader)
{
    g_autofree char *path = beside(reader, reader->words[2]);
    const char *problem = opq_mains_play(opq_world_mains(reader->box), choice(reader, 1, inputs), path,
                                         number(reader, 3, 1, 1000000000000), when(reader, 4), number(reader, 5, 0, 1));

    if (problem) {
        wrong(reader, "mains: %s: %s", path, problem);
    }
}

static void do_sine(const Reader *reader)
{
    opq_mains_sine(opq_world_mains(reader->box), choice(reader, 1, inputs), number(reader, 2, 0, 6000000000),
                   number(reader, 3, -65535, 65535), number(reader, 4, -65535, 65535),
                   number(reader, 5, -1000000, 1000000));
}

static void do_dip(const Reader *reader)
{
    opq_mains_dip(opq_world_mains(reader->box), when(reader, 1), when(reader, 2), number(reader, 3, 0, 10000));
}

static void do_pps(const Reader *reader) { opq_world_add(reader->box, when(reader, 1), OPQ_PULSE, 0, 1); }

static void do_train(const Reader *reader)
{
    int64_t start = when(reader, 1), num = number(reader, 2, 1, INT64_MAX), den = number(reader, 3, 1, INT64_MAX);
    int64_t count = number(reader, 4, 0, 10000000);

    for (int64_t k = 0; k < count; k++) {
        opq_world_add(reader->box, start + (int64_t)((__int128)k * num / den), OPQ_PULSE, 0, 1);
    }
}

static void do_bytes(const Reader *reader)
{
    bytes(reader, choice(reader, 1, usarts), when(reader, 2), reader->words[3]);
}

static void do_bytes_file(const Reader *outer)
{
    g_autofree char *path = beside(outer, outer->words[2]), *text = NULL;
    g_autoptr(GError) error = NULL;
    int index = choice(outer, 1, usarts), line = 0;
    char *rest;

    if (!g_file_get_contents(path, &text, NULL, &error)) {
        wrong(outer, "bytes_file: %s", error->message);
    }
    rest = text;
    for (char *at; (at = strsep(&rest, "\n"));) {
        char *words[2] = { strsep(&at, " \t"), at ? g_strstrip(at) : NULL };
        Reader reader = { outer->box, path, ++line, words, 2 };
        if (!*words[0] || *words[0] == '#') {
            continue;
        }
        if (!words[1]) {
            wrong(&reader, "want: t_ns hex");
        }
        bytes(&reader, index, when(&reader, 0), words[1]);
    }
}

static void do_adc(const Reader *reader)
{
    opq_world_add(reader->box, when(reader, 2), OPQ_ADC, number(reader, 1, 0, 18), number(reader, 3, 0, 4095));
}

static void do_pin(const Reader *reader)
{
    const char *pin = reader->words[1];
    int n = g_ascii_isupper(pin[0]) ? atoi(pin + 1) : -1;

    if (!strchr("ABCDEH", pin[0]) || n < 0 || n > 15 || !g_ascii_isdigit(pin[1])) {
        wrong(reader, "pin: '%s' is no pin such as B2 (ports A to E and H)", pin);
    }
    opq_world_add(reader->box, when(reader, 2), OPQ_PIN, (pin[0] - 'A') << 4 | n, number(reader, 3, 0, 1));
}

static void do_pvd(const Reader *reader)
{
    opq_world_add(reader->box, when(reader, 1), OPQ_PVD, 0, number(reader, 2, 0, 1));
}
static void do_boot0(const Reader *reader)
{
    int64_t t_ns = when(reader, 1);
    bool level = number(reader, 2, 0, 1);

    if (t_ns == 0) {
        reader->box->boot0 = level; /* power-on reads it, before any event */
    } else {
        opq_world_add(reader->box, t_ns, OPQ_BOOT0, 0, level);
    }
}
static void do_go(const Reader *reader) { opq_world_add(reader->box, when(reader, 1), OPQ_GO, 0, 0); }
static void do_cut(const Reader *reader) { opq_world_add(reader->box, when(reader, 1), OPQ_CUT, 0, 0); }
static void do_cut_after(const Reader *reader)
{
    opq_world_set_cut_after(reader->box, number(reader, 1, 1, INT64_MAX));
}
static void do_restarted(const Reader *reader) { reader->box->restarted = true; }

static void do_seed(const Reader *reader) { opq_world_set_seed(reader->box, number(reader, 1, 0, INT64_MAX)); }
static void do_end(const Reader *reader) { opq_world_add(reader->box, when(reader, 1), OPQ_END, 0, 0); }

static void do_noise(const Reader *reader)
{
    OpqUsart *usart = &reader->box->usart[choice(reader, 1, usarts)];
    int way = choice(reader, 2, ways);
    uint64_t ppb = number(reader, 3, 0, 1000000000), seed = number(reader, 4, 0, INT64_MAX);

    *(way ? &usart->noise_rx_ppb : &usart->noise_tx_ppb) = ppb;
    *(way ? &usart->noise_rx_state : &usart->noise_tx_state) = seed;
}

static const struct { const char *word; guint count; void (*read)(const Reader *); } grammar[] = {
    { "mains", 6, do_mains },   { "mains_sine", 6, do_sine },       { "dip", 4, do_dip },
    { "pps", 2, do_pps },       { "pps_train", 5, do_train },       { "bytes", 4, do_bytes },
    { "bytes_file", 3, do_bytes_file }, { "adc", 4, do_adc },       { "pin", 4, do_pin },
    { "pvd", 3, do_pvd },       { "cut", 2, do_cut },               { "cut_after", 2, do_cut_after },
    { "seed", 2, do_seed },     { "end", 2, do_end },               { "noise", 5, do_noise },
    { "boot0", 3, do_boot0 },   { "go", 2, do_go },               { "restarted", 1, do_restarted },
};

static void read_line(Reader *reader)
{
    for (unsigned n = 0; n < ARRAY_SIZE(grammar); n++) {
        if (!strcmp(reader->words[0], grammar[n].word)) {
            if (reader->count != grammar[n].count) {
                wrong(reader, "%s: %u words, want %u", reader->words[0], reader->count, grammar[n].count);
            }
            grammar[n].read(reader);
            return;
        }
    }
    wrong(reader, "'%s' is no word of a world file", reader->words[0]);
}

void opq_world_read(OpqBox *box, const char *path)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(path, &text, NULL, &error)) {
        error_report("world: %s", error->message);
        exit(1);
    }
    lines = g_strsplit(text, "\n", -1);
    for (int n = 0; lines[n]; n++) {
        g_autoptr(GPtrArray) words = g_ptr_array_new();
        g_auto(GStrv) pieces = NULL;
        char *comment = strchr(lines[n], '#');
        if (comment) {
            *comment = 0;
        }
        pieces = g_strsplit_set(g_strstrip(lines[n]), " \t\r", -1);
        for (int piece = 0; pieces[piece]; piece++) {
            if (*pieces[piece]) {
                g_ptr_array_add(words, pieces[piece]);
            }
        }
        if (words->len) {
            Reader reader = { box, path, n + 1, (char **)words->pdata, words->len };
            read_line(&reader);
        }
    }
}
