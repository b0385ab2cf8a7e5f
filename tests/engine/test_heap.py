"""Large buffers of a long-lived process have pages of their own, and the Host says so to its allocator."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOOK = """
import ctypes, sys
from dodai.engine.heap import keep_large_buffers_apart

class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
if sys.argv[1] == "apart":
    assert keep_large_buffers_apart()
for _ in range(3):
    bytearray(256 * 1024)  # as asyncio does for each read: made and let go
before = mallinfo().hblks
kept = bytearray(256 * 1024)
print(mallinfo().hblks - before)
"""


def pages_of_its_own(how):
    """How many buffers of 256 KiB are outside the heap after some of that size came and went."""
    asked = subprocess.run([sys.executable, "-c", LOOK, how], capture_output=True, text=True, check=False)
    if "mallinfo2" in asked.stderr:
        pytest.skip("the C library cannot be asked about its heap")
    assert asked.returncode == 0, asked.stderr
    return int(asked.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told")
def test_buffer_as_large_as_those_of_asyncio_is_not_taken_out_of_the_heap():
    """However many came before it: what stays would otherwise lie behind it, and its pages never go back."""
    assert (pages_of_its_own("apart"), pages_of_its_own("as it comes")) == (1, 0)


GIVEN_BACK = """
import asyncio, os, sys
from dodai.engine.heap import give_back

def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

async def main():
    kept = [bytearray(100_000) for _ in range(600)]
    least = resident_mib()
    last = kept.pop()  # stays at the end of the heap, as a connection that was opened in the worst moment does
    kept.clear()
    held = resident_mib()
    task = asyncio.create_task(give_back(0.01))
    while resident_mib() > least - 40 and not task.done():
        await asyncio.sleep(0.01)
    print(held > least - 40, resident_mib() <= least - 40)

asyncio.run(asyncio.wait_for(main(), 60))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told")
def test_free_memory_before_the_end_of_the_heap_goes_back_to_the_system():
    """One small thing at the end would otherwise keep all of it for as long as the process lives."""
    asked = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stdout) == (0, "True True\n"), asked.stderr
