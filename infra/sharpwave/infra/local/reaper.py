"""Run one command, and leave nothing of it behind.

Run as a script, `python -I -S reaper.py GRACE_S COMMAND...`, by `sharpwave.infra.local.processes`.
Standard input is the lifeline: whoever started it holds the other end, and the end of file says
that they are gone, however they died. SIGTERM asks for the same in peace. Either way the command
is asked to stop (SIGTERM), then it and all its descendants are killed, those in other sessions
included (on Linux; elsewhere those of its process group). SIGQUIT kills them at once.

The signals go to the command alone at first: a master process which is told to stop tells its own
workers, and many a worker takes a second SIGTERM for "drop everything".

Exits as the command did: its exit code, or killed by the same signal; 127 if it cannot be run.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

ORPHANED_GRACE_S = 2.0
"""Time to stop, in seconds, once the starter is dead: nobody waits for a drain any more."""

KILL_AGAIN_S = 0.1
LOOKS_BEFORE_GIVING_UP = 100

ORPHANED = signal.SIGUSR1
AT_ONCE = signal.SIGQUIT
STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, ORPHANED})
WATCHED = STOP | {AT_ONCE, signal.SIGCHLD, signal.SIGALRM}
ON_LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def _prctl(option: int, value: int) -> None:
    if ON_LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _processes() -> Iterator[tuple[int, int, int]]:
    """Every process as (pid, parent's pid, group); those that end meanwhile are left out."""
    if not ON_LINUX:
        listing = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,pgid="], capture_output=True, text=True, check=False
        )
        for line in listing.stdout.splitlines():
            pid, parent, group = map(int, line.split())
            yield pid, parent, group
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(errors="replace")
            except OSError:
                continue
            # The command's name stands in parentheses and may hold anything, a ")" too.
            _state, parent_pid, group_id, *_ = stat.rpartition(")")[2].split()
            yield int(entry.name), int(parent_pid), int(group_id)


def _family() -> set[int]:
    """All that descends from here or shares this process's group, but for itself."""
    me, parents, family = os.getpid(), {}, set()
    for pid, parent, group in _processes():
        parents[pid] = parent
        if group == me:
            family.add(pid)
    for pid in parents:
        ancestor = pid
        while ancestor in parents and ancestor != me:
            ancestor = parents[ancestor]
        if ancestor == me:
            family.add(pid)
    return family - {me}


def _reap(pid: int) -> int | None:
    """Collect whoever ended; the wait status of `pid` if it was among them."""
    found = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if ended == 0:
            return found
        if ended == pid:
            found = status


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _supervise(pid: int, grace_s: float) -> int:
    """Wait for the command's end, and hurry it when asked to; its wait status."""
    stopping = False
    while (status := _reap(pid)) is None:
        received = signal.sigwait(WATCHED)
        if received == signal.SIGCHLD:
            continue
        if received in (AT_ONCE, signal.SIGALRM):
            _kill(_family())
            signal.setitimer(signal.ITIMER_REAL, KILL_AGAIN_S)
        elif not stopping or received == ORPHANED:
            left_s = min(grace_s, ORPHANED_GRACE_S) if received == ORPHANED else grace_s
            signal.setitimer(signal.ITIMER_REAL, max(left_s, 0.001))
            if not stopping:
                os.kill(pid, signal.SIGTERM)
            stopping = True
    return status


def main(grace_s: float, argv: Sequence[str]) -> None:
    """Run `argv` to its end or to that of whoever holds standard input; never returns."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    # Some systems drop a blocked signal whose default is to be ignored.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # Should the reaper itself be killed, the command must not outlive it.
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def await_starter() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), ORPHANED)

    try:
        command = subprocess.Popen(argv, stdin=subprocess.DEVNULL, preexec_fn=prepare)
    except OSError as error:
        print(f"cannot run {argv[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)
    threading.Thread(target=await_starter, daemon=True).start()
    status = _supervise(command.pid, grace_s)
    # What the command left behind may be forking while it is killed, so look again.
    for _ in range(LOOKS_BEFORE_GIVING_UP):
        _reap(0)
        family = _family()
        if not family:
            break
        _kill(family)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    # It died of a signal, and so does this process: whoever waits here is told the same.
    if -code not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-code, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
    os.kill(os.getpid(), -code)
    os._exit(128 - code)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
