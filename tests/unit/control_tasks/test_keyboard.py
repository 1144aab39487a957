"""Keys of a real pseudo-terminal."""

from __future__ import annotations

import os
import signal
import sys
import termios

import pytest

from graduation_backend.control_tasks.keyboard import Keyboard, interrupts, leaving_cleanly


@pytest.mark.parametrize(
    ("pressed", "key"),
    [
        (b"q", "q"),
        (b"\x1b[A", "up"),
        (b"\x1bOB", "down"),
        (b"\x1b[6~", "page down"),
        (b"\x1b", "escape"),
        (b"\r", "enter"),
        (b"\x04", "end of input"),
        ("ö".encode(), "ö"),
        (b"\xff", "\ufffd"),
    ],
)
def test_key_has_a_name(pressed: bytes, key: str, keys: int) -> None:
    with Keyboard() as keyboard:
        os.write(keys, pressed)

        assert keyboard.wait(5) == key
        assert keyboard.wait(0.01) == ""


def test_keys_that_come_together_are_taken_one_by_one(keys: int) -> None:
    with Keyboard() as keyboard:
        os.write(keys, b"a\x1b[Bq\x1b[99Z")

        assert [keyboard.wait(1) for _ in range(4)] == ["a", "down", "q", ""]
        assert keyboard.wait(0) == ""


def test_terminal_is_as_before_also_after_an_error(keys: int) -> None:
    before = termios.tcgetattr(sys.stdin.fileno())

    def fail() -> None:
        with Keyboard():
            assert termios.tcgetattr(sys.stdin.fileno()) != before
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert termios.tcgetattr(sys.stdin.fileno()) == before


def test_terminal_that_is_gone_ends_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard = Keyboard()
    keyboard.is_there = True
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert keyboard.wait(1) == "end of input"
    assert not keyboard.is_there


def test_keyboard_without_a_terminal_has_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with Keyboard() as keyboard:
            assert not keyboard.is_there
            assert keyboard.wait(0) == ""


def test_ctrl_c_is_noted_and_a_second_one_breaks_what_holds() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupts() as pressed:
        os.kill(os.getpid(), signal.SIGINT)
        assert (pressed.take(), pressed.take()) == (True, False)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_leaves_as_an_exception() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left, leaving_cleanly():
        os.kill(os.getpid(), signal.SIGTERM)
    assert left.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
