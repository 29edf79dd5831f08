"""Each system call of Linux, and what a plug-in may do with it.

A call that is not in this table, such as one of a newer Linux, is answered as one that the kernel lacks. So
the table is a list of what is allowed; what it refuses by name is here with the reason, for the reader and
for docs/plugins-sandbox.md.

Source: arch/x86/entry/syscalls/syscall_64.tbl, scripts/syscall.tbl (aarch64), arch/arm/tools/syscall.tbl;
up to Linux 6.18.
"""

from dataclasses import dataclass
from enum import StrEnum

MACHINES = ("x86_64", "aarch64", "arm")
"""The columns of numbers; arm has 32 bits and the EABI."""


class CallRule(StrEnum):
    """What the filter answers."""

    ALLOWED = "allowed"
    ARGUMENTS = "by its arguments"
    """`system_calls.program` has the conditions."""
    SIGNALS = "by Landlock, or else refused"
    OWN_SIGNALS = "by Landlock, or else to its first process"
    ABSENT = "absent"
    """ENOSYS, as for a call that is not in the table."""
    REFUSED = "refused"
    """EPERM."""


@dataclass(frozen=True, slots=True)
class CallGroup:
    """Calls with one rule and one reason. `calls`: name, and number on each of `MACHINES`, or `-`."""

    rule: CallRule
    why: str
    calls: str

    def numbers(self, machine: str) -> dict[str, int]:
        """Call -> its number on one of `MACHINES`, without calls that the machine lacks."""
        column = 1 + MACHINES.index(machine)
        rows = [each.split() for each in self.calls.split(",")]
        return {row[0]: int(row[column]) for row in rows if row[column] != "-"}

    def names(self) -> list[str]:
        return [each.split()[0] for each in self.calls.split(",")]


CALLS: tuple[CallGroup, ...] = (
    CallGroup(
        CallRule.ALLOWED,
        "Reads and writes what is open, and waits for it",
        """
        read 0 63 3, write 1 64 4, readv 19 65 145, writev 20 66 146, pread64 17 67 180, pwrite64 18 68 181,
        preadv 295 69 361, pwritev 296 70 362, preadv2 327 286 392, pwritev2 328 287 393, lseek 8 62 19,
        _llseek - - 140, close 3 57 6, close_range 436 436 436, dup 32 23 41, dup2 33 - 63, dup3 292 24 358,
        pipe 22 - 42, pipe2 293 59 359, poll 7 - 168, ppoll 271 73 336, ppoll_time64 - - 414, select 23 - -,
        _newselect - - 142, pselect6 270 72 335, pselect6_time64 - - 413, epoll_create 213 - 250,
        epoll_create1 291 20 357, epoll_ctl 233 21 251, epoll_wait 232 - 252, epoll_pwait 281 22 346,
        epoll_pwait2 441 441 441, eventfd 284 - 351, eventfd2 290 19 356, signalfd 282 - 349,
        signalfd4 289 74 355, timerfd_create 283 85 350, timerfd_settime 286 86 353,
        timerfd_settime64 - - 411, timerfd_gettime 287 87 354, timerfd_gettime64 - - 410,
        sendfile 40 71 187, sendfile64 - - 239, splice 275 76 340, tee 276 77 342, vmsplice 278 75 343,
        copy_file_range 326 285 391, fsync 74 82 118, fdatasync 75 83 148, sync_file_range 277 84 -,
        arm_sync_file_range - - 341, fallocate 285 47 352, fadvise64 221 223 -, arm_fadvise64_64 - - 270,
        readahead 187 213 225, flock 73 32 143, ftruncate 77 46 93, ftruncate64 - - 194, getdents 78 - 141,
        getdents64 217 61 217, fstat 5 80 108, fstat64 - - 197
        """,
    ),
    CallGroup(
        CallRule.ALLOWED,
        "Uses sockets that it has; which it may have, `socket` decides, and Landlock its TCP ports",
        """
        bind 49 200 282, connect 42 203 283, listen 50 201 284, accept 43 202 285, accept4 288 242 366,
        getsockname 51 204 286, getpeername 52 205 287, setsockopt 54 208 294, getsockopt 55 209 295,
        shutdown 48 210 293, recv - - 291, recvfrom 45 207 292, recvmsg 47 212 297, recvmmsg 299 243 365,
        recvmmsg_time64 - - 417
        """,
    ),
    CallGroup(
        CallRule.ALLOWED,
        "Landlock limits it to the allowed files",
        """
        creat 85 - 8, mkdir 83 - 39, mkdirat 258 34 323, mknod 133 - 14, mknodat 259 33 324, rmdir 84 - 40,
        unlink 87 - 10, unlinkat 263 35 328, rename 82 - 38, renameat 264 38 329, renameat2 316 276 382,
        link 86 - 9, linkat 265 37 330, symlink 88 - 83, symlinkat 266 36 331
        """,
    ),
    CallGroup(
        CallRule.ALLOWED,
        "What an interpreter needs to find its modules; Landlock has no right for it. It shows "
        "whether a path exists, its size and times, and where a link leads",
        """
        stat 4 - 106, lstat 6 - 107, stat64 - - 195, lstat64 - - 196, newfstatat 262 79 -,
        fstatat64 - - 327, statx 332 291 397, access 21 - 33, faccessat 269 48 334, faccessat2 439 439 439,
        readlink 89 - 85, readlinkat 267 78 332, getcwd 79 17 183
        """,
    ),
    CallGroup(
        CallRule.ALLOWED,
        "Its own memory, within the limit of addresses",
        """
        brk 12 214 45, mmap 9 222 -, mmap2 - - 192, munmap 11 215 91, mremap 25 216 163,
        mprotect 10 226 125, madvise 28 233 220, msync 26 227 144, mlock 149 228 150, mlock2 325 284 390,
        mlockall 151 230 152, munlock 150 229 151, munlockall 152 231 153, mseal 462 462 462,
        pkey_alloc 330 289 395, pkey_free 331 290 396, pkey_mprotect 329 288 394, mincore 27 232 219,
        mbind 237 235 319, get_mempolicy 239 236 320, set_mempolicy 238 237 321, membarrier 324 283 389,
        map_shadow_stack 453 453 453
        """,
    ),
    CallGroup(
        CallRule.ALLOWED,
        "Its own threads, children and signals",
        """
        fork 57 - 2, vfork 58 - 190, exit 60 93 1, exit_group 231 94 248, wait4 61 260 114,
        waitid 247 95 280, set_tid_address 218 96 256, set_robust_list 273 99 338, rseq 334 293 398,
        restart_syscall 219 128 0, arch_prctl 158 - -, ARM_set_tls - - 983045, ARM_get_tls - - 983046,
        ARM_cacheflush - - 983042, futex 202 98 240, futex_time64 - - 422, futex_waitv 449 449 449,
        futex_wake 454 454 454, futex_wait 455 455 455, futex_requeue 456 456 456, sched_yield 24 124 158,
        rt_sigaction 13 134 174, rt_sigprocmask 14 135 175, rt_sigpending 127 136 176,
        rt_sigsuspend 130 133 179, rt_sigtimedwait 128 137 177, rt_sigtimedwait_time64 - - 421,
        rt_sigreturn 15 139 173, sigaltstack 131 132 186, sigaction - - 67, sigpending - - 73,
        sigprocmask - - 126, sigreturn - - 119, sigsuspend - - 72, pause 34 - 29, setpgid 109 154 57,
        setsid 112 157 66, setrlimit 160 164 75, umask 95 166 60
        """,
    ),
    CallGroup(
        CallRule.ALLOWED,
        "Probes of an administrator, which the kernel lets pass every filter; a plug-in's own call ends it",
        """
        uprobe 336 - -, uretprobe 335 - -
        """,
    ),
    CallGroup(
        CallRule.ALLOWED,
        "Time, waiting and timers",
        """
        time 201 - -, gettimeofday 96 169 78, clock_gettime 228 113 263, clock_gettime64 - - 403,
        clock_getres 229 114 264, clock_getres_time64 - - 406, clock_nanosleep 230 115 265,
        clock_nanosleep_time64 - - 407, nanosleep 35 101 162, alarm 37 - -, getitimer 36 102 105,
        setitimer 38 103 104, timer_create 222 107 257, timer_settime 223 110 258, timer_settime64 - - 409,
        timer_gettime 224 108 259, timer_gettime64 - - 408, timer_getoverrun 225 109 260,
        timer_delete 226 111 261, times 100 153 43
        """,
    ),
    CallGroup(
        CallRule.ALLOWED,
        "Facts about itself and the machine, which change nothing",
        """
        getpid 39 172 20, getppid 110 173 64, gettid 186 178 224, getpgid 121 155 132, getpgrp 111 - 65,
        getsid 124 156 147, getuid 102 174 24, geteuid 107 175 49, getgid 104 176 47, getegid 108 177 50,
        getresuid 118 148 165, getresgid 120 150 171, getgroups 115 158 80, getuid32 - - 199,
        geteuid32 - - 201, getgid32 - - 200, getegid32 - - 202, getresuid32 - - 209, getresgid32 - - 211,
        getgroups32 - - 205, getrlimit 97 163 -, ugetrlimit - - 191, getrusage 98 165 77,
        getpriority 140 141 96, ioprio_get 252 31 315, capget 125 90 184, getcpu 309 168 345,
        getrandom 318 278 384, uname 63 160 122, sysinfo 99 179 116, sched_getaffinity 204 123 242,
        sched_getscheduler 145 120 157, sched_getparam 143 121 155, sched_getattr 315 275 381,
        sched_get_priority_max 146 125 159, sched_get_priority_min 147 126 160,
        sched_rr_get_interval 148 127 161, sched_rr_get_interval_time64 - - 423
        """,
    ),
    CallGroup(
        CallRule.ARGUMENTS,
        "Not to truncate a file that is opened for reading",
        """
        open 2 - 5, openat 257 56 322
        """,
    ),
    CallGroup(
        CallRule.ARGUMENTS,
        "Only of the kinds that `network` allows",
        """
        socket 41 198 281
        """,
    ),
    CallGroup(
        CallRule.ARGUMENTS,
        "Not for datagrams, which reach any socket that is a file; all with `unix`",
        """
        socketpair 53 199 288
        """,
    ),
    CallGroup(
        CallRule.ARGUMENTS,
        "Not with MSG_FASTOPEN, which connects without Landlock",
        """
        send - - 289, sendto 44 206 290, sendmsg 46 211 296, sendmmsg 307 269 374
        """,
    ),
    CallGroup(
        CallRule.ARGUMENTS,
        "Locks, flags and sizes; not F_SETOWN and F_SETSIG, which signal other processes, and not "
        "F_SETLEASE and F_NOTIFY, which watch files",
        """
        fcntl 72 25 55, fcntl64 - - 221
        """,
    ),
    CallGroup(
        CallRule.ARGUMENTS,
        "Not to signal another process (FIOSETOWN, SIOCSPGRP), and not to type into a terminal (TIOCSTI)",
        """
        ioctl 16 29 54
        """,
    ),
    CallGroup(
        CallRule.ARGUMENTS,
        "Names of its threads and memory, and reading; it cannot outlive its parent "
        "(PR_SET_PDEATHSIG) or open itself to tracing",
        """
        prctl 157 167 172
        """,
    ),
    CallGroup(
        CallRule.ARGUMENTS,
        "Without flags that make name spaces",
        """
        clone 56 220 120
        """,
    ),
    CallGroup(
        CallRule.ARGUMENTS,
        "Only its own limits",
        """
        prlimit64 302 261 369
        """,
    ),
    CallGroup(
        CallRule.ARGUMENTS,
        "Only the usual scheduler, which libzmq sets for its threads",
        """
        sched_setscheduler 144 119 156
        """,
    ),
    CallGroup(
        CallRule.OWN_SIGNALS,
        "Within itself; Landlock limits it from Linux 6.12, before that only to its first process",
        """
        kill 62 129 37, tgkill 234 131 268
        """,
    ),
    CallGroup(
        CallRule.SIGNALS,
        "Within itself, by Landlock; refused before Linux 6.12",
        """
        tkill 200 130 238, rt_sigqueueinfo 129 138 178, rt_tgsigqueueinfo 297 240 363,
        pidfd_send_signal 424 424 424
        """,
    ),
    CallGroup(
        CallRule.ABSENT,
        "Its flags are in memory, where a filter cannot read them; libraries then use `clone` and `openat`",
        """
        clone3 435 435 435, openat2 437 437 437
        """,
    ),
    CallGroup(
        CallRule.REFUSED,
        "Watches names and accesses in folders that it may not read: Landlock has no right for it",
        """
        inotify_init 253 - 316, inotify_init1 294 26 360, inotify_add_watch 254 27 317,
        inotify_rm_watch 255 28 318, fanotify_init 300 262 367, fanotify_mark 301 263 368,
        cachestat 451 451 451
        """,
    ),
    CallGroup(
        CallRule.REFUSED,
        "Takes a path or a file's handle, and Landlock has no right for it",
        """
        chdir 80 49 12, fchdir 81 50 133, chroot 161 51 61, name_to_handle_at 303 264 370,
        open_by_handle_at 304 265 371, statfs 137 43 99, statfs64 - - 266, fstatfs 138 44 100,
        fstatfs64 - - 267, ustat 136 - 62, sysfs 139 - 135, uselib 134 - 86, getxattr 191 8 229,
        lgetxattr 192 9 230, fgetxattr 193 10 231, getxattrat 464 464 464, listxattr 194 11 232,
        llistxattr 195 12 233, flistxattr 196 13 234, listxattrat 465 465 465, file_getattr 468 468 468,
        lookup_dcookie 212 18 249
        """,
    ),
    CallGroup(
        CallRule.REFUSED,
        "Changes mode, owner, times, attributes or length by name, for which Landlock has no right, "
        "or has it only later",
        """
        truncate 76 45 92, truncate64 - - 193, chmod 90 - 15, fchmod 91 52 94, fchmodat 268 53 333,
        fchmodat2 452 452 452, chown 92 - 182, fchown 93 55 95, lchown 94 - 16, fchownat 260 54 325,
        chown32 - - 212, fchown32 - - 207, lchown32 - - 198, setxattr 188 5 226, lsetxattr 189 6 227,
        fsetxattr 190 7 228, setxattrat 463 463 463, removexattr 197 14 235, lremovexattr 198 15 236,
        fremovexattr 199 16 237, removexattrat 466 466 466, utime 132 - -, utimes 235 - 269,
        futimesat 261 - 326, utimensat 280 88 348, utimensat_time64 - - 412, file_setattr 469 469 469
        """,
    ),
    CallGroup(
        CallRule.REFUSED,
        "Mounts, name spaces, quotas, swap and file systems as a whole",
        """
        mount 165 40 21, umount2 166 39 52, pivot_root 155 41 218, unshare 272 97 337, setns 308 268 375,
        open_tree 428 428 428, open_tree_attr 467 467 467, move_mount 429 429 429, fsopen 430 430 430,
        fsconfig 431 431 431, fsmount 432 432 432, fspick 433 433 433, mount_setattr 442 442 442,
        statmount 457 457 457, listmount 458 458 458, listns 470 470 470, quotactl 179 60 131,
        quotactl_fd 443 443 443, acct 163 89 51, swapon 167 224 87, swapoff 168 225 115, sync 162 81 36,
        syncfs 306 267 373, nfsservctl 180 42 169
        """,
    ),
    CallGroup(
        CallRule.REFUSED,
        "Other processes: their memory, descriptors, priority and end",
        """
        ptrace 101 117 26, process_vm_readv 310 270 376, process_vm_writev 311 271 377,
        process_madvise 440 440 440, process_mrelease 448 448 448, kcmp 312 272 378, pidfd_open 434 434 434,
        pidfd_getfd 438 438 438, get_robust_list 274 100 339, migrate_pages 256 238 400,
        move_pages 279 239 344, set_mempolicy_home_node 450 450 450, setpriority 141 140 97, nice - - 34,
        sched_setaffinity 203 122 241, sched_setparam 142 118 154, sched_setattr 314 274 380,
        ioprio_set 251 30 314
        """,
    ),
    CallGroup(
        CallRule.REFUSED,
        "Programs: it executes none",
        """
        execve 59 221 11, execveat 322 281 387
        """,
    ),
    CallGroup(
        CallRule.REFUSED,
        "Memory without an address, which the limit does not count, and channels to other processes "
        "of its user",
        """
        memfd_create 319 279 385, memfd_secret 447 447 -, shmget 29 194 307, shmat 30 196 305,
        shmctl 31 195 308, shmdt 67 197 306, msgget 68 186 303, msgsnd 69 189 301, msgrcv 70 188 302,
        msgctl 71 187 304, semget 64 190 299, semop 65 193 298, semctl 66 191 300, semtimedop 220 192 312,
        semtimedop_time64 - - 420, mq_open 240 180 274, mq_unlink 241 181 275, mq_timedsend 242 182 276,
        mq_timedsend_time64 - - 418, mq_timedreceive 243 183 277, mq_timedreceive_time64 - - 419,
        mq_notify 244 184 278, mq_getsetattr 245 185 279
        """,
    ),
    CallGroup(
        CallRule.REFUSED,
        "Interfaces of the kernel with a wide surface",
        """
        bpf 321 280 386, perf_event_open 298 241 364, userfaultfd 323 282 388, io_uring_setup 425 425 425,
        io_uring_enter 426 426 426, io_uring_register 427 427 427, add_key 248 217 309,
        request_key 249 218 310, keyctl 250 219 311, seccomp 317 277 383,
        landlock_create_ruleset 444 444 444, landlock_add_rule 445 445 445,
        landlock_restrict_self 446 446 446, lsm_get_self_attr 459 459 459, lsm_set_self_attr 460 460 460,
        lsm_list_modules 461 461 461, personality 135 92 136, modify_ldt 154 - -,
        remap_file_pages 216 234 253, io_setup 206 0 243, io_destroy 207 1 244, io_submit 209 2 246,
        io_cancel 210 3 247, io_getevents 208 4 245, io_pgetevents 333 292 399, io_pgetevents_time64 - - 416
        """,
    ),
    CallGroup(
        CallRule.REFUSED,
        "Users and capabilities",
        """
        setuid 105 146 23, setgid 106 144 46, setreuid 113 145 70, setregid 114 143 71,
        setresuid 117 147 164, setresgid 119 149 170, setfsuid 122 151 138, setfsgid 123 152 139,
        setgroups 116 159 81, setuid32 - - 213, setgid32 - - 214, setreuid32 - - 203, setregid32 - - 204,
        setresuid32 - - 208, setresgid32 - - 210, setfsuid32 - - 215, setfsgid32 - - 216,
        setgroups32 - - 206, capset 126 91 185
        """,
    ),
    CallGroup(
        CallRule.REFUSED,
        "The machine: clock, names, modules, log, ports",
        """
        settimeofday 164 170 79, clock_settime 227 112 262, clock_settime64 - - 404, adjtimex 159 171 124,
        clock_adjtime 305 266 372, clock_adjtime64 - - 405, sethostname 170 161 74,
        setdomainname 171 162 121, reboot 169 142 88, syslog 103 116 103, vhangup 153 58 111, iopl 172 - -,
        ioperm 173 - -, init_module 175 105 128, finit_module 313 273 379, delete_module 176 106 129,
        kexec_load 246 104 347, kexec_file_load 320 294 401, pciconfig_iobase - - 271,
        pciconfig_read - - 272, pciconfig_write - - 273
        """,
    ),
    CallGroup(
        CallRule.REFUSED,
        "Removed from Linux, or never there",
        """
        _sysctl 156 - 149, afs_syscall 183 - -, bdflush - - 134, create_module 174 - -,
        epoll_ctl_old 214 - -, epoll_wait_old 215 - -, get_kernel_syms 177 - -, get_thread_area 211 - -,
        getpmsg 181 - -, putpmsg 182 - -, query_module 178 - -, security 185 - -, set_thread_area 205 - -,
        tuxcall 184 - -, vserver 236 - 313, ARM_breakpoint - - 983041, ARM_usr26 - - 983043,
        ARM_usr32 - - 983044
        """,
    ),
)
