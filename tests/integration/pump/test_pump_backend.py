"""Changes of a real table reach a real queue through kills of the pump and of the backend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sharpwave.infra.local import EmbeddedBackend
    from tests.integration.pump.conftest import MakeStage, Stage

PATIENCE_S = 20.0

CHILD = """
import signal, sys, threading, time
from conftest import Stage
stage = Stage(sys.argv[1], sys.argv[3])
save = stage.checkpoints.save
def pause(table, checkpoint):
    if checkpoint.position.isdigit() and sys.argv[2] == "pause":
        print("sent", flush=True)
        time.sleep(600)
    save(table, checkpoint)
stage.checkpoints.save = pause
signal.signal(signal.SIGTERM, lambda *_: stage.stop.set())
print("ready", flush=True)
stage.pump.run()
"""


@contextmanager
def child(stage: Stage, mode: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, stage.endpoint, mode, stage.prefix],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()


def wait_for_line(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == line


def test_every_change_arrives_and_a_restart_repeats_none(
    stage: Stage, make_stage: MakeStage
) -> None:
    stage.put("a", "b")
    with stage.pumping():
        stage.expect("a", "b")
        stage.put("c")
        stage.expect("c")

    later = make_stage()
    stage.put("d")
    with later.pumping():
        stage.expect("d")

    assert later.trimmed == []


def test_a_pump_killed_between_send_and_checkpoint_sends_again(
    stage: Stage, make_stage: MakeStage
) -> None:
    stage.put("a", "b")
    with child(stage, "pause") as killed:
        wait_for_line(killed, "ready")
        wait_for_line(killed, "sent")
        killed.send_signal(signal.SIGKILL)
        stage.expect("a", "b")

    with make_stage().pumping():
        stage.expect("a", "b")


def test_a_pump_told_to_end_saves_its_position_and_exits_cleanly(
    stage: Stage, make_stage: MakeStage
) -> None:
    stage.put("a")
    with child(stage, "run") as ended:
        wait_for_line(ended, "ready")
        stage.expect("a")
        ended.send_signal(signal.SIGTERM)
        assert ended.wait(PATIENCE_S) == 0

    stage.put("b")
    with make_stage().pumping():
        stage.expect("b")


def test_a_backend_that_restarts_without_its_stream_is_noticed_and_followed(
    mortal_stage: Stage, mortal: EmbeddedBackend
) -> None:
    stage = mortal_stage
    with stage.pumping():
        stage.put("a", "b", "c")
        stage.expect("a", "b", "c")

        mortal.restart()
        stage.put("d")

        stage.expect("d")
        assert stage.trimmed == ["signals"]


def test_a_backend_that_restarts_with_nothing_is_followed_once_it_is_provisioned(
    mortal_stage: Stage, mortal: EmbeddedBackend
) -> None:
    stage = mortal_stage
    with stage.pumping():
        stage.put("a")
        stage.expect("a")

        mortal.kill()
        mortal.start()
        stage.provision()
        stage.put("b")

        stage.expect("b")
        assert stage.trimmed == ["signals"]


def test_a_message_the_queue_refuses_is_parked_and_holds_up_no_other(
    stage: Stage, huge: str
) -> None:
    stage.put("a", huge, "b")

    with stage.pumping():
        stage.expect("a", "b")

    assert len(stage.refused) == 1
