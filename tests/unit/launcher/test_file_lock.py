from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from graduation_backend.environment import BASE_DIR
from graduation_backend.file_lock import Locked, exclusive

HOLD = (
    "import sys, time; from pathlib import Path; from graduation_backend.file_lock import exclusive\n"
    "with exclusive(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def hold(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=BASE_DIR, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_taken_lock_tells_the_pid_of_its_holder(tmp_path: Path) -> None:
    with hold(tmp_path / "lock") as holder:
        with pytest.raises(Locked) as caught, exclusive(tmp_path / "lock", wait=False):
            pass
        assert caught.value.owner == str(holder.pid)
        holder.kill()


def test_lock_of_a_killed_holder_is_free(tmp_path: Path) -> None:
    with hold(tmp_path / "lock") as holder:
        holder.kill()
    with exclusive(tmp_path / "lock", wait=False):
        assert (tmp_path / "lock.pid").read_text() == f"{os.getpid()}\n"
    assert not (tmp_path / "lock.pid").exists()


def test_lock_is_not_inherited_by_a_child_that_outlives_its_holder(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock", wait=False):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child, exclusive(tmp_path / "lock", wait=False):
        child.kill()
