"""Which system calls a container may make: an allow-list, everything else fails with EPERM.

It follows the default profile of moby (Docker), with less: containers here have no capabilities, so whatever that
profile allows with one is left out, as are debugging other processes (`ptrace`, `process_vm_*`), asynchronous I/O by
`io_uring`, other machines' instruction sets, and all sockets but local, IP and netlink ones.
"""

import errno
from typing import Any

ALLOWED = {
    "files": """
        access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
        fallocate fchdir fchmod fchmodat fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr
        fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr inotify_add_watch
        inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit
        ioctl ioprio_get ioprio_set lchown lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr lstat
        mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2
        pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir
        sendfile setxattr splice stat statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate umask
        unlink unlinkat utime utimensat utimes vmsplice write writev
    """,
    "waiting": """
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
        eventfd2 futex futex_waitv pause poll ppoll pselect6 select signalfd signalfd4
    """,
    "sockets": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg
        sendto setsockopt shutdown socketpair
    """,
    "memory": """
        brk madvise membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect mremap msync munlock munlockall
        munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages
    """,
    "processes": """
        arch_prctl capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getcpu getegid
        geteuid getgid getgroups getitimer getpgid getpgrp getpid getppid getpriority getresgid getresuid getrlimit
        getrusage getsid gettid getuid kill landlock_add_rule landlock_create_ruleset landlock_restrict_self pidfd_open
        pidfd_send_signal prctl prlimit64 restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
        rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
        sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity
        sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list set_thread_area
        set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid
        setreuid setrlimit setsid setuid sigaltstack tgkill times tkill vfork wait4 waitid
    """,
    "System V and POSIX communication": """
        mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget
        semop semtimedop shmat shmctl shmdt shmget
    """,
    "time and the machine": """
        adjtimex alarm clock_adjtime clock_getres clock_gettime clock_nanosleep getrandom gettimeofday nanosleep sysinfo
        time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
        timerfd_settime uname
    """,
}

NAMESPACE_FLAGS = 0x7E020000
"""The flags of `clone` that make namespaces (CLONE_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET)."""

SOCKET_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}

PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""Linux, with and without a fixed layout of memory, and asking which it is."""

ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def profile(machine: str) -> dict[str, Any]:
    """The profile in the form of the OCI runtime specification, for a machine as `uname -m` names it."""
    names = sorted(name for group in ALLOWED.values() for name in group.split())
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": [ARCHITECTURES[machine]],
        "syscalls": [
            {"names": names, "action": "SCMP_ACT_ALLOW"},
            _allowed("clone", 0, "SCMP_CMP_MASKED_EQ", NAMESPACE_FLAGS, 0),
            # Its flags are in memory, where a filter can't see them; the C library falls back to clone on ENOSYS.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
            *(_allowed("socket", 0, "SCMP_CMP_EQ", family) for family in SOCKET_FAMILIES.values()),
            *(_allowed("personality", 0, "SCMP_CMP_EQ", personality) for personality in PERSONALITIES),
        ],
    }


def _allowed(name: str, argument: int, operator: str, value: int, second_value: int = 0) -> dict[str, Any]:
    return {
        "names": [name],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": argument, "value": value, "valueTwo": second_value, "op": operator}],
    }
