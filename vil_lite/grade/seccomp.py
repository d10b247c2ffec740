"""The last fence of a worker: system calls that no exercise needs are refused by the kernel, for good.

Namespaces of its own would give the student's code a tmpfs without a limit; shared memory and memory files are not counted
by the limit on address space; ptrace, keys, bpf and io_uring are where kernels have had holes.
"""

import ctypes
import errno
import platform
import struct

ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CALLS = {  # name: (number on x86_64, on aarch64)
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
}
CLONE, CLONE3, NEW_USER = (56, 220), 435, 0x10000000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000


def program(machine: str) -> list[bytes]:
    """The filter in the kernel's little language, one instruction of 8 bytes each."""
    which = list(ARCH).index(machine)

    def step(code, k, yes=0, no=0):
        return struct.pack("HBBI", code, yes, no, k)

    def refuse_if(test, k, error=errno.EPERM):
        return [step(test, k, 0, 1), step(RETURN, REFUSE | error)]

    steps = [step(LOAD, 4), step(EQUAL, ARCH[machine], 1, 0), step(RETURN, REFUSE | errno.EPERM)]
    steps += [step(LOAD, 0), *refuse_if(AT_LEAST, 0x40000000), *refuse_if(EQUAL, CLONE3, errno.ENOSYS)]
    for numbers in CALLS.values():
        steps += refuse_if(EQUAL, numbers[which])
    steps += [step(EQUAL, CLONE[which], 0, 3), step(LOAD, 16), *refuse_if(ANY_BIT, NEW_USER)]
    return [*steps, step(RETURN, ALLOW)]


def fence() -> bool:
    """Refuse these calls from now on, in this process and its children.  False where the machine is none we know."""
    if platform.system() != "Linux" or platform.machine() not in ARCH:
        return False
    steps = program(platform.machine())
    code = ctypes.create_string_buffer(b"".join(steps))
    whole = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    libc.prctl(no_new_privileges, 1, None, 0, 0)
    if libc.prctl(set_seccomp, filter_mode, ctypes.addressof(whole), 0, 0):
        raise OSError(ctypes.get_errno(), "the system calls of the worker cannot be limited")
    return True
