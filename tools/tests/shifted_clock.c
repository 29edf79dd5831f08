/* The system's clock and its state of synchronisation as the tests set them, for all processes of a system.
   SHIFTED_CLOCK names a file of two int64: seconds that are added, and whether the kernel says "synchronised".
   The monotonic clock is not touched, as when somebody sets the clock. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define UNSYNCHRONISED 0x40

static const volatile long long *state(void) {
    static const volatile long long *found;
    static const long long real[2];
    if (!found) {
        const char *path = getenv("SHIFTED_CLOCK");
        int file = path ? open(path, O_RDONLY) : -1;
        void *map = file < 0 ? MAP_FAILED : mmap(0, sizeof real, PROT_READ, MAP_SHARED, file, 0);
        found = map == MAP_FAILED ? real : map;
        if (file >= 0) {
            close(file);
        }
    }
    return found;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI)) {
        time->tv_sec += state()[0];
    }
    return result;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec time;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &time);
    out->tv_sec = time.tv_sec;
    out->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    if (out) {
        *out = time.tv_sec;
    }
    return time.tv_sec;
}

int adjtimex(struct timex *out) {
    int result = (int)syscall(SYS_adjtimex, out);
    if (state()[1]) {
        out->status &= ~UNSYNCHRONISED;
        out->maxerror = 4000;
        return TIME_OK;
    }
    out->status |= UNSYNCHRONISED;
    return result < 0 ? result : TIME_ERROR;
}
