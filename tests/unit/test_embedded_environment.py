"""A tool's environment is made once, from pinned hashes, and never counts while half made."""

import json
import re
import threading
from pathlib import Path

import pytest

from sharpwave.infra.embedded import environment
from sharpwave.infra.embedded.errors import EnvironmentUnavailable

PINS = {
    "ministack": "ministack==1.5.33",
    "moto": "moto==5.2.5",
    "microburst": "microburst==0.10.0",
    "arch": "arch==8.0.0",
}
ROOT = Path(__file__).parents[2]


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
    def make_python(name: str, lock: Path, root: Path) -> None:
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
    def make_python(name: str, lock: Path, root: Path) -> None:
        (root / "bin").mkdir(parents=True)
        (root / "bin" / "python").touch()

    monkeypatch.setattr(environment, "_install", make_python)
    lock = tmp_path / "tool.lock"
    lock.write_text("tool==1")
    before = environment.ensure("tool", lock, home=tmp_path)
    lock.write_text("tool==2")

    after = environment.ensure("tool", lock, home=tmp_path)

    assert after != before


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


def test_the_npm_lock_has_an_integrity_for_each_package_and_no_registry() -> None:
    lock = json.loads((environment.LOCKS / "fauxqs" / "package-lock.json").read_text())
    packages = {path: about for path, about in lock["packages"].items() if path}

    assert packages["node_modules/fauxqs"]["version"] == "1.9.2"
    assert all("integrity" in about for about in packages.values())
    assert not any("resolved" in about for about in packages.values())


def test_the_image_installs_the_versions_the_tests_run_on() -> None:
    def pins(path: Path) -> set[str]:
        return set(re.findall(r"^([a-z0-9._-]+==[^ ;\\]+)", path.read_text(), re.MULTILINE))

    image = pins(environment.lock_file("image"))

    assert {pin.partition("==")[0] for pin in image} >= {"boto3", "dramatiq", "hatchling"}
    assert image <= pins(ROOT / "requirements.lock")
