"""What confines a worker: another user, limits, no new privileges, name spaces of its own.

Each step returns whether it is on, or the reason why the kernel or our privileges do not permit it; the
plug-in's status shows that. Linux only, by ctypes: no package, no helper program.
"""

import ctypes
import os
import resource
import struct
from collections.abc import Sequence
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
SCRATCH = Path("/dev/shm")
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWIPC, CLONE_NEWUSER = 0x00020000, 0x20000000, 0x08000000, 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    *(1, 2, 4, 8, 32, 4096),
    *(16384, 1 << 18),
)
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 38, 36


def own_name_spaces() -> str:
    """Gives our children name spaces for processes, mounts and IPC; all end with the first process.

    Without root it also needs a name space of users, in which we keep our number; not every kernel permits
    that to everybody. It is tried in a child first, because a failure half way cannot be undone.
    """
    if os.geteuid() == 0:
        return _enter_name_spaces()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        state = _enter_name_spaces()
        if state == "on":
            state = own_scratch(1 << 20).partition(":")[0]
        os.write(writing, state.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        state = pipe.read()
    os.waitpid(child, 0)
    return _enter_name_spaces() if state == "on" else f"{state or 'off'}; needs root"


def _enter_name_spaces() -> str:
    uid, gid = os.geteuid(), os.getegid()
    if LIBC.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | (CLONE_NEWUSER if uid else 0)):
        return why_off("unshare")
    if uid:
        own = Path("/proc/self")
        try:
            (own / "setgroups").write_text("deny")
            (own / "uid_map").write_text(f"{uid} {uid} 1")
            (own / "gid_map").write_text(f"{gid} {gid} 1")
        except OSError as error:
            return f"off: {error.filename}: {error.strerror}"
    if _mount("none", "/", None, MS_REC | MS_PRIVATE):
        return why_off("mount")
    return "on"


def readable_by(uid: int, path: Path) -> bool:
    """Whether user `uid`, without groups, can read `path`."""
    for each in (path, *path.parents):
        try:
            found = each.stat()
        except OSError:
            return False
        wanted = 0o5 if each.is_dir() else 0o4
        mode = found.st_mode >> 6 if found.st_uid == uid else found.st_mode
        if each != path:
            wanted = 0o1
        if mode & wanted != wanted:
            return False
    return True


def open_ways(uid: int, wanted: Sequence[Path], hidden: Sequence[Path], writable: Sequence[Path] = ()) -> str:
    """Makes `wanted` readable in our own mount name space where a folder above is closed to `uid`.

    The closed folder (e.g. /root) is covered by an empty one, into which only what is wanted is bound, read
    only: the worker sees less than it would otherwise. `hidden`, the data folder with other plug-ins and
    their secrets, is covered in any case. `writable` are bound as they are.
    """
    os.umask(0o022)
    kept_open = {path.resolve() for path in writable}
    there = {path.resolve() for path in (*wanted, *writable) if path.exists()}
    covers = {path.resolve() for path in hidden if path.is_dir()}
    for path in there:
        if readable_by(uid, path):
            continue
        above = [each for each in reversed(path.parents) if not _passable(uid, each)]
        if above:
            covers.add(above[0])
        elif path not in kept_open:  # for a writable one the worker reports that it cannot write there
            return f"{path} itself is closed to other users"
    handles = {path: os.open(path, os.O_PATH) for path in sorted(there)}
    for cover in sorted(covers, key=lambda path: len(path.parts)):
        if not cover.is_dir():
            continue  # it is below one that is covered already
        if _mount("tmpfs", str(cover), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m"):
            return why_off(f"mount on {cover}")
        for path, handle in handles.items():
            if cover in path.parents and (why := _bind(handle, path, path not in kept_open)):
                return why
    for handle in handles.values():
        os.close(handle)
    return "on" if covers else "not needed"


def _bind(handle: int, path: Path, read_only: bool) -> str:
    """Binds the object of `handle` to `path`. Returns "" or the reason of a failure."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if Path(f"/proc/self/fd/{handle}").is_dir():
            path.mkdir(exist_ok=True)
        else:
            path.touch()
    except OSError:
        pass  # it is below a folder that is bound already
    if _mount(f"/proc/self/fd/{handle}", str(path), None, MS_BIND):
        return why_off(f"bind {path}")
    flags = MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV | (MS_RDONLY if read_only else 0)
    if _mount("none", str(path), None, flags) and _mount("none", str(path), None, flags | MS_NOEXEC):
        return why_off(f"remount {path}")
    return ""


def own_scratch(size_bytes: int) -> str:
    """Mounts a small folder in memory over SCRATCH, where anybody could fill the machine's memory."""
    if not SCRATCH.is_dir():
        return f"off: there is no {SCRATCH}"
    data = f"mode=1777,size={size_bytes},nr_inodes=4096"
    if _mount("tmpfs", str(SCRATCH), "tmpfs", MS_NOSUID | MS_NODEV, data):
        return why_off(f"mount on {SCRATCH}")
    _mount("/dev/null", "/dev/ptmx", None, MS_BIND)  # terminals are few, and shared by all
    return f"on: {size_bytes >> 20} MiB"


def own_proc() -> str:
    """In the first process of the name space: makes /proc show its processes only."""
    if LIBC.unshare(CLONE_NEWNS):  # the keeper continues with the /proc that shows all
        return why_off("unshare")
    return (
        why_off("mount /proc") if _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC) else "on"
    )


def give_up_capabilities() -> str:
    """Drops the capabilities that a name space of users has given."""
    header, none = struct.pack("=Ii", 0x20080522, 0), bytes(24)  # _LINUX_CAPABILITY_VERSION_3
    return why_off("capset") if LIBC.capset(header, none) else f"uid {os.geteuid()}, as the server"


def become(uid: int) -> str:
    """Gives up root for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    return f"uid {uid}"


def limit(memory_bytes: int, cpu_s: int, file_bytes: int, open_files: int, processes: int) -> str:
    """Sets hard rlimits, which cannot be raised again. A limit of 0 is left as it is."""
    wanted = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_NPROC: processes,
    }
    for which, value in wanted.items():
        if value:
            _, hard = resource.getrlimit(which)
            low = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(which, (low, low))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return "on"


def no_new_privileges() -> str:
    """Set-uid programs then give no privileges; the seccomp filter needs this too."""
    return why_off("prctl") if LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) else "on"


def adopt_orphans() -> None:
    """Orphans of our children become our children, and not those of the first process."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def first_to_go() -> None:
    """When memory runs out, the kernel then kills the worker and not the server."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return


def end_with_parent() -> None:
    """Requests SIGKILL for the end of the parent. Call it after `become`, which resets it."""
    LIBC.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)


def _passable(uid: int, folder: Path) -> bool:
    found = folder.stat()
    mode = found.st_mode >> 6 if found.st_uid == uid else found.st_mode
    return bool(mode & 0o1)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> int:
    arguments = [None if text is None else text.encode() for text in (source, target, kind)]
    failed: int = LIBC.mount(*arguments, ctypes.c_ulong(flags), None if data is None else data.encode())
    return failed


def why_off(what: str) -> str:
    return f"off: {what}: {os.strerror(ctypes.get_errno())}"
