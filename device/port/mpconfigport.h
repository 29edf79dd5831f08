// MicroPython of the Box: feature level EXTRA without files, sockets and threads; the app is frozen into the binary.
#include <alloca.h>
#include <stdint.h>

#include "board.h"

#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)

#define MICROPY_EMIT_THUMB (0) // no native code: fast code is C
#define MICROPY_EMIT_INLINE_THUMB (0)
#define MICROPY_FLOAT_IMPL (MICROPY_FLOAT_IMPL_FLOAT) // the FPU's single precision; time is 64-bit integers
#define MICROPY_LONGINT_IMPL (MICROPY_LONGINT_IMPL_MPZ)
#define MICROPY_ENABLE_GC (1)
#define MICROPY_GC_SPLIT_HEAP (OPQ_BOARD_MORE_HEAP_BYTES > 0)
#define MICROPY_GCREGS_SETJMP (0)
#define MICROPY_STACK_CHECK (1)
#define MICROPY_ENABLE_EMERGENCY_EXCEPTION_BUF (1)
#define MICROPY_EMERGENCY_EXCEPTION_BUF_SIZE (256) // so that a MemoryError has a traceback
#define MICROPY_KBD_EXCEPTION (1)
#define MICROPY_HELPER_REPL (1)
#define MICROPY_REPL_AUTO_INDENT (1)
#define MICROPY_REPL_INFO (0)
#define MICROPY_ENABLE_EXTERNAL_IMPORT (1) // finds frozen modules
#define MICROPY_USE_INTERNAL_PRINTF (1)
#define MICROPY_ENABLE_SCHEDULER (1)
#define MICROPY_MEM_STATS (0)
#define MICROPY_WARNINGS (1)

#define MICROPY_VFS (1) // for a prompt: box.py (app/user_files.py), and a client's folder
#define MICROPY_READER_VFS (1)
#define MICROPY_PERSISTENT_CODE_LOAD (0) // mpy-cross's output is frozen, never loaded
#define MICROPY_PY_IO (1)
#define MICROPY_PY_JSON (1)
#define MICROPY_PY_OS (1)
#define MICROPY_PY_OS_STATVFS (1)
#define MICROPY_PY_ASYNCIO (0)
#define MICROPY_PY_SELECT (1)
#define MICROPY_PY_SOCKET (0)
#define MICROPY_PY_NETWORK (0)
#define MICROPY_PY_SSL (0)
#define MICROPY_PY_WEBSOCKET (0)
#define MICROPY_PY_WEBREPL (0)
#define MICROPY_PY_LWIP (0)
#define MICROPY_PY_BLUETOOTH (0)
#define MICROPY_PY_BTREE (0)
#define MICROPY_PY_FRAMEBUF (0)
#define MICROPY_PY_ONEWIRE (0)
#define MICROPY_PY_CRYPTOLIB (0)
#define MICROPY_PY_DEFLATE (0)
#define MICROPY_PY_RE (0)
#define MICROPY_PY_RANDOM (0)
#define MICROPY_PY_UCTYPES (0)
#define MICROPY_PY_HEAPQ (0)
#define MICROPY_PY_HASHLIB (0)
#define MICROPY_PY_CMATH (0)
#define MICROPY_PY_SYS_STDFILES (1)
#define MICROPY_PY_SYS_STDIO_BUFFER (1)
#define MICROPY_MODULE_BUILTIN_SUBPACKAGES (1) // `import opq.clock`
#define MICROPY_PY_SYS_PLATFORM "opq"
#define MICROPY_PY_TIME (1)
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME (0)
#define MICROPY_PY_TIME_TIME_TIME_NS (0) // time is in module `clock` only
#define MICROPY_PY_MACHINE (1)           // mem8, mem16, mem32 and idle: for the bench
#define MICROPY_PY_MACHINE_INCLUDEFILE "machine_bench.c"
#define MICROPY_PY_MACHINE_PIN_BASE (0)
#define MICROPY_PY_MACHINE_SIGNAL (0)
#define MICROPY_PY_MACHINE_RESET (0)
#define MICROPY_PY_MACHINE_BARE_METAL_FUNCS (0)
#define MICROPY_PY_MACHINE_DISABLE_IRQ_ENABLE_IRQ (0)
#define MICROPY_PY_MACHINE_PULSE (0)
#define MICROPY_PY_MACHINE_BITSTREAM (0)
#define MICROPY_PY_MACHINE_SOFTI2C (0)
#define MICROPY_PY_MACHINE_SOFTSPI (0)
#define MICROPY_PY_MACHINE_TIMER (0)

#include "opq_version.h" // made by the Makefile: OPQ_FIRMWARE_VERSION, MICROPY_HW_BOARD_NAME, MICROPY_HW_MCU_NAME
// It begins as clients want it: mpremote mounts its folder again where it finds this after a soft reset.
#define MICROPY_BANNER_NAME_AND_VERSION "MicroPython " MICROPY_VERSION_STRING " of OPQ Box " OPQ_FIRMWARE_VERSION

typedef int32_t mp_int_t; // must be pointer size
typedef uint32_t mp_uint_t;
typedef long mp_off_t;
#define UINT_FMT "%lu"
#define INT_FMT "%ld"
#define MP_SSIZE_MAX (0x7fffffff)
#define MP_NEED_LOG2 (1)
#define MP_STATE_PORT MP_STATE_VM

// A user's program beyond its time (cmodules/program): interrupted at each jump until it has returned.
// And a prompt over the link, in which the app goes on (port/prompt.c).
#include "program_budget.h"
#include "prompt.h"
#define MICROPY_VM_HOOK_LOOP \
    if (opq_program_over) { \
        mp_sched_keyboard_interrupt(); \
    } \
    if (opq_prompt_due) { \
        opq_prompt_attend(); \
    }
// The same while Python waits: in sleep, for input, in select.
#define MICROPY_INTERNAL_EVENT_HOOK \
    if (opq_prompt_due) { \
        opq_prompt_attend(); \
    }

// Waiting for an interrupt; SysTick ends it after 1 ms at the latest.
#define MICROPY_INTERNAL_WFE(timeout_ms) __asm volatile("wfi")
