"""What a flood has taken goes back to the system."""

from __future__ import annotations

import ctypes
from pathlib import Path

from xmppd.memory.heap import EVERY, WORTH, Heap, Trimmer


class FakeHeap(Heap):
    def __init__(self) -> None:
        self.bytes = 0
        self.given = 0

    def free(self) -> int:
        return self.bytes

    def give_back(self) -> None:
        self.given += 1


def test_only_what_is_worth_it_and_not_given_back_already() -> None:
    heap = FakeHeap()
    trimmer = Trimmer(heap)
    now = 100.0
    for free, given in (
        (WORTH - 1, 0),
        (WORTH, 1),
        (WORTH, 1),  # the figure still counts what the system has got
        (WORTH * 2 - 1, 1),
        (10 << 20, 1),  # used again
        (WORTH + (10 << 20), 2),
    ):
        heap.bytes = free
        trimmer.look(now)
        trimmer.look(now + EVERY - 1)
        assert heap.given == given
        now += EVERY


def cached() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_pages_in_the_middle_of_the_heap_go_back() -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    library.free.argtypes = (ctypes.c_void_p,)
    Heap().give_back()
    blocks = [library.malloc(40_000) for _ in range(4000)]
    for block in blocks:
        ctypes.memset(block, 1, 40_000)
    full = cached()
    for number, block in enumerate(blocks):
        if number % 100 and block != blocks[-1]:  # what stays pins all below it
            library.free(block)
    trimmer = Trimmer()
    assert Heap().free() > WORTH
    trimmer.look(1.0)
    assert full - cached() > 100 << 20
    for block in (*blocks[0:-1:100], blocks[-1]):
        library.free(block)
