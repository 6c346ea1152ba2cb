"""The compose file runs every part of the pipeline against a pinned LocalStack."""

import json
import re
import subprocess
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra.local.environment import ensure
from sharpwave.infra.local.localstack import IMAGE, PROMPT_STREAMS
from sharpwave.workers.settings import Settings

ROOT = Path(__file__).parents[4]
STAND_INS = ["localstack", "floci"]
WORKERS = ["deliver", "status", "promote", "learn", "archive"]
READ_YAML = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    # ministack's environment holds a YAML parser; ours has no other use for one.
    python = ensure("ministack") / "python"
    done = subprocess.run(
        [python, "-c", READ_YAML, ROOT / "docker-compose.yml"], capture_output=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


def command(service: dict[str, Any]) -> list[str]:
    return [*service.get("entrypoint", []), *service["command"]]


def test_localstack_is_pinned_to_the_release_the_tests_use(services: dict[str, Any]) -> None:
    assert services["localstack"]["image"] == IMAGE == "localstack/localstack:4.14.0"


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_is_reachable_from_this_machine_only(
    services: dict[str, Any], name: str
) -> None:
    assert services[name]["ports"] == ["127.0.0.1:4566:4566"]


def test_one_stand_in_runs_and_unasked_it_is_localstack(services: dict[str, Any]) -> None:
    profiles = {name: services[name].get("profiles") for name in services}

    unasked = re.findall(r"^COMPOSE_PROFILES=(.*)$", (ROOT / ".env").read_text(), re.MULTILINE)

    assert {name: own for name, own in profiles.items() if own} == {n: [n] for n in STAND_INS}
    assert unasked == ["localstack"]


def test_provisioning_waits_for_whichever_runs(services: dict[str, Any]) -> None:
    ready = {"condition": "service_healthy", "required": False}

    assert services["provision"]["depends_on"] == dict.fromkeys(STAND_INS, ready)


def test_floci_answers_by_the_name_that_all_parts_call(services: dict[str, Any]) -> None:
    assert services["floci"]["networks"]["default"]["aliases"] == ["localstack"]
    assert services["floci"]["environment"]["FLOCI_HOSTNAME"] == "localstack"


def test_localstack_loses_nothing_of_a_new_tables_stream(services: dict[str, Any]) -> None:
    assert PROMPT_STREAMS.items() <= services["localstack"]["environment"].items()


def test_there_is_a_service_for_each_part(services: dict[str, Any]) -> None:
    assert sorted(services) == sorted([*STAND_INS, "provision", "pump", *WORKERS])


@pytest.mark.parametrize("queue", WORKERS)
def test_each_queue_has_a_worker_of_its_own(services: dict[str, Any], queue: str) -> None:
    program, target, *options = command(services[queue])

    assert (program, target) == ("dramatiq", "sharpwave.workers.main:build")
    assert options[-2:] == ["--queues", queue]


@pytest.mark.parametrize("queue", WORKERS)
def test_a_stop_leaves_a_worker_its_shutdown_timeout(services: dict[str, Any], queue: str) -> None:
    options = dict(each.split("=") for each in command(services[queue]) if "=" in each)
    shutdown_ms = int(options["--worker-shutdown-timeout"])

    grace_s = int(services[queue]["stop_grace_period"].removesuffix("s"))

    assert grace_s * 1000 > shutdown_ms


@pytest.mark.parametrize("name", ["provision", "pump", *WORKERS])
def test_every_command_is_installed_by_the_project(services: dict[str, Any], name: str) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    installed = {each.name for each in entry_points(group="console_scripts")}

    program = command(services[name])[0]

    assert program in {*scripts, "dramatiq"} & installed


@pytest.mark.parametrize("name", ["pump", *WORKERS])
def test_nothing_runs_before_the_tables_and_queues_are_there(
    services: dict[str, Any], name: str
) -> None:
    waits_for = services[name]["depends_on"]

    assert waits_for == {"provision": {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize("name", ["provision", "pump", *WORKERS])
def test_every_part_talks_to_localstack(services: dict[str, Any], name: str) -> None:
    variables = services[name]["environment"]

    assert variables["AWS_ENDPOINT_URL"] == "http://localstack:4566"
    assert (variables["AWS_ACCESS_KEY_ID"], variables["AWS_REGION"]) == ("test", "us-east-1")


@pytest.mark.parametrize("name", ["pump", *WORKERS])
def test_no_write_is_a_batch_of_which_localstack_makes_no_record(
    services: dict[str, Any], name: str
) -> None:
    assert services[name]["environment"]["SHARPWAVE_WRITES"] == "single"


def test_the_archive_is_kept_on_a_volume(services: dict[str, Any]) -> None:
    variables = services["archive"]["environment"]

    settings = Settings(archive=variables["SHARPWAVE_ARCHIVE"])

    assert settings.archive == "file:///archive"
    assert services["archive"]["volumes"] == ["archive:/archive"]


def test_the_image_installs_by_hash_and_does_not_run_as_root() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (\S+image\.lock)", text, re.MULTILINE)

    assert "--require-hashes" in text
    assert [(ROOT / path).is_file() for path in copied] == [True]
    assert re.search(r"^USER (?!root)\w+", text, re.MULTILINE)
