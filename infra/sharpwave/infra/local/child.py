"""A child process that never outlives this one, however this one ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sharpwave.infra.local import reaper

MARGIN_S = 2.0
"""What the reaper may take beyond the grace to kill and collect everything, in seconds."""


class Child:
    """A command in a session of its own, with a reaper that ends it when this process ends.

    Its descendants end with it. Standard input is empty; both outputs are appended to `log`.

    Args:
        argv: the command.
        env: its whole environment.
        log: a file; its folder is made if absent.
        grace_s: seconds between the wish to stop (SIGTERM) and the end by force (SIGKILL).
    """

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], log: Path, grace_s: float = 5.0
    ) -> None:
        self.grace_s = grace_s
        log.parent.mkdir(parents=True, exist_ok=True)
        # Isolated and without site-packages the reaper is up in a fraction of the time.
        command = [sys.executable, "-I", "-S", reaper.__file__, str(grace_s), *argv]
        with log.open("ab") as output:
            self._reaper = subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process group which holds the command and its reaper."""
        return self._reaper.pid

    def poll(self) -> int | None:
        """Give the exit code, negative for a signal, or None while it runs."""
        code = self._reaper.poll()
        return code if code is None else self._ended(code)

    def wait(self, timeout_s: float | None = None) -> int:
        """Give the exit code once it has ended.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout_s` seconds.
        """
        return self._ended(self._reaper.wait(timeout_s))

    def request_stop(self) -> None:
        """Ask it to stop, and return at once; safe to repeat."""
        self._reaper.terminate()

    def stop(self) -> int:
        """Ask it to stop, end it by force after the grace, and give the exit code."""
        self.request_stop()
        try:
            return self.wait(self.grace_s + MARGIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.wait()

    def kill(self) -> None:
        """Kill it at once with all its descendants, as a crash would, and wait for their end."""
        self._reaper.send_signal(reaper.AT_ONCE)
        try:
            self.wait(MARGIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def _ended(self, code: int) -> int:
        if self._reaper.stdin is not None:
            self._reaper.stdin.close()
        if code == -signal.SIGKILL:
            # Perhaps it was the reaper that was killed, which cleans up no more.
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return code


def tail(log: Path, *, lines: int = 20) -> str:
    """Give the last lines of a log, or nothing if there is none."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
