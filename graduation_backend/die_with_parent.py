"""Run a command that the kernel kills when its parent is gone: `die_with_parent.py PARENT_PID COMMAND…`.

Linux only. Started by its path, with nothing but the standard library, because it becomes the command and
should cost nothing. A `preexec_fn` would do the same, but in a process with threads, where it may deadlock.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the line above: then no signal comes any more.
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606
