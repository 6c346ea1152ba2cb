"""A tool's environment is made once, from pinned hashes, and never counts while half made."""

import json
import re
import sys
import threading
from pathlib import Path

import pytest

from sharpwave.infra.local import environment
from sharpwave.infra.local.backend import EnvironmentUnavailable

PINS = {
    "ministack": "ministack==1.5.33",
    "moto": "moto==5.2.5",
    "arch": "arch==8.0.0",
    "localstack": "localstack-core==4.14.0",
}
ROOT = Path(__file__).parents[4]


def works() -> bool:
    return True


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    made: list[str] = []
    entered, second_entered, go_on = threading.Event(), threading.Event(), threading.Event()

    def make(directory: Path) -> None:
        made.append(threading.current_thread().name)
        (second_entered if entered.is_set() else entered).set()
        go_on.wait(10)
        directory.mkdir(exist_ok=True)

    def use() -> None:
        environment.made_once(tmp_path / "tool", make, works=works)

    users = [threading.Thread(target=use) for _ in range(2)]
    for user in users:
        user.start()
    entered.wait(10)
    let_in_as_well = second_entered.wait(0.2)
    go_on.set()
    for user in users:
        user.join(10)

    assert not let_in_as_well
    assert len(made) == 1


def test_what_a_crash_left_half_made_is_made_again(tmp_path: Path) -> None:
    half = tmp_path / "tool"
    half.mkdir()
    (half / "rubble").touch()

    environment.made_once(half, lambda path: path.mkdir(), works=works)

    assert not (half / "rubble").exists()


def test_a_failed_attempt_does_not_count(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        directory.mkdir()
        raise EnvironmentUnavailable("tool", "the network is down")

    with pytest.raises(EnvironmentUnavailable):
        environment.made_once(tmp_path / "tool", fail, works=works)
    assert not list(tmp_path.rglob(environment.COMPLETE))

    made = environment.made_once(tmp_path / "tool", lambda path: path.mkdir(), works=works)

    assert (made / environment.COMPLETE).exists()


def test_one_that_stopped_working_is_made_again(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(directory: Path) -> None:
        made.append(directory)
        directory.mkdir()

    for _ in range(2):
        environment.made_once(tmp_path / "tool", make, works=lambda: False)

    assert len(made) == 2


def test_a_second_use_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_python(name: str, lock: Path, root: Path, python: str) -> None:
        (root / "bin").mkdir(parents=True)
        (root / "bin" / "python").touch()

    monkeypatch.setattr(environment, "_install", make_python)
    first = environment.ensure("ministack", home=tmp_path)
    monkeypatch.setattr(environment, "_install", lambda *_: pytest.fail("installed again"))

    second = environment.ensure("ministack", home=tmp_path)

    assert second == first


def test_another_lock_makes_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_python(name: str, lock: Path, root: Path, python: str) -> None:
        (root / "bin").mkdir(parents=True)
        (root / "bin" / "python").touch()

    monkeypatch.setattr(environment, "_install", make_python)
    lock = tmp_path / "tool.lock"
    lock.write_text("tool==1")
    before = environment.ensure("tool", lock, home=tmp_path)
    lock.write_text("tool==2")

    after = environment.ensure("tool", lock, home=tmp_path)

    assert after != before


def fake_python(path: Path, *, runs: bool) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{'echo 3.99.1 linux' if runs else 'exit 127'}\n")
    path.chmod(0o755)
    return path


def test_the_python_that_runs_this_serves_if_it_is_of_that_version() -> None:
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"

    assert environment.find_python("tool", ["3.99", mine]) == sys.executable


def test_a_python_on_the_path_that_does_not_run_gives_way_to_one_that_pyenv_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = fake_python(tmp_path / "shims" / "python3.99", runs=False)
    kept = tmp_path / ".pyenv" / "versions" / "3.99.1" / "bin" / "python3.99"
    fake_python(kept, runs=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(stand_in.parent))

    assert environment.find_python("tool", ["3.99"]) == str(kept)


def test_where_no_python_serves_all_that_would_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(EnvironmentUnavailable, match=r"'tool'.* needs python3\.99 or python3\.98"):
        environment.find_python("tool", ["3.99", "3.98"])


def test_two_pythons_have_two_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def make_python(name: str, lock: Path, root: Path, python: str) -> None:
        used.append(python)
        (root / "bin").mkdir(parents=True)
        (root / "bin" / "python").touch()

    monkeypatch.setattr(environment, "_install", make_python)
    other = str(fake_python(tmp_path / "bin" / "python3.99", runs=True))

    first = environment.ensure("ministack", home=tmp_path)
    second = environment.ensure("ministack", home=tmp_path, python=other)

    assert used == [sys.executable, other]
    assert first.parent.name.partition("-py")[2] != second.parent.name.partition("-py")[2]


def test_a_failed_step_says_what_was_tried_what_it_said_and_what_to_do() -> None:
    command = ["sh", "-c", "echo no route to the mirror >&2; exit 3"]

    with pytest.raises(EnvironmentUnavailable) as raised:
        environment.run(command, name="ministack", advice="check the network")

    message = str(raised.value)
    assert "'ministack'" in message
    assert "sh -c" in message
    assert "no route to the mirror" in message
    assert "check the network" in message


def test_a_step_whose_program_is_missing_says_so() -> None:
    with pytest.raises(EnvironmentUnavailable, match="cannot run no-such-program"):
        environment.run(["no-such-program"], name="moto", advice="install it")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SHARPWAVE_HOME": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/sharpwave")),
        ({}, Path.home() / ".cache" / "sharpwave"),
    ],
)
def test_the_cache_folder_follows_the_environment(
    variables: dict[str, str], expected: Path
) -> None:
    assert environment.cache_home(variables) == expected


@pytest.mark.parametrize(("name", "pin"), PINS.items())
def test_a_lock_pins_its_tool_hashes_every_package_and_names_no_address(
    name: str, pin: str
) -> None:
    text = environment.lock_file(name).read_text()
    packages = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]

    assert pin in text
    assert all("--hash=sha256:" in package for package in packages)
    assert "://" not in text


@pytest.mark.parametrize(("name", "version"), [("fauxqs", "1.9.2"), ("kinesis-local", "0.5.2")])
def test_the_npm_lock_has_an_integrity_for_each_package_and_no_registry(
    name: str, version: str
) -> None:
    lock = json.loads((environment.LOCKS / name / "package-lock.json").read_text())
    packages = {path: about for path, about in lock["packages"].items() if path}

    assert packages[f"node_modules/{name}"]["version"] == version
    assert all("integrity" in about for about in packages.values())
    assert not any("resolved" in about for about in packages.values())


def test_the_image_installs_the_versions_the_tests_run_on() -> None:
    def pins(path: Path) -> set[str]:
        return set(re.findall(r"^([a-z0-9._-]+==[^ ;\\]+)", path.read_text(), re.MULTILINE))

    image = pins(environment.lock_file("image"))

    assert {pin.partition("==")[0] for pin in image} >= {"boto3", "dramatiq", "hatchling"}
    assert image <= pins(ROOT / "requirements.lock")
