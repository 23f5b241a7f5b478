"""`make verify-on-hardware`: what it says is missing, what it makes of a run, that its report gives nothing away."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hardware.__main__ import main
from hardware.contract_run import FileRun, Outcome, contract_files, passed_on, run_file
from hardware.machine import ROOT, STAND_INS, Machine, is_stand_in, missing
from hardware.report import MESSAGE_LENGTH, SCHEMA, Verification, as_json, as_markdown, summary, without_secrets

READY = Machine(
    torch_neuronx="/opt/aws_neuronx_venv/lib/python3.12/site-packages/torch_neuronx/__init__.py",
    can_trace=True,
    tools={"neuron-monitor": "/opt/aws/neuron/bin/neuron-monitor", "neuron-ls": "/opt/aws/neuron/bin/neuron-ls"},
    device_nodes=["neuron0"],
    missing_plugins=[],
)
SECRETS = {
    "access key": "AKIA" + "ABCDEFGHIJKLMNOP",
    "assignment": "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7",
    "json": '"session_token": "FwoGZXIvYXdzE"',
    "arn": "arn:aws:iam::123456789012:role/models-reader",
    "account": "123456789012",
    "address": "10.0.12.7",
    "instance": "i-0123456789abcdef0",
    "host": "ip-10-0-12-7",
    "long": "x" * 60,
}
RUN = FileRun(
    "test_tracing.py",
    12.34,
    [
        Outcome("test_a", "passed", 1.0),
        Outcome("test_b[x|y]", "failed", 2.0, "E   assert 1 == 2"),
        Outcome("c", "skipped", 0),
    ],
)


def verification(*runs: FileRun) -> Verification:
    return Verification(
        emulated=False,
        created="2026-01-01T00:00:00+00:00",
        versions={"driver": "2.24"},
        runs=runs,
        private=[("/home/me/it", "<repository>")],
    )


def test_a_machine_with_everything_misses_nothing() -> None:
    assert missing(READY, emulated=False) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"device_nodes": []}, "there is no /dev/neuron0"),
        ({"can_trace": False, "torch_neuronx": "No module named 'torch_neuronx'"}, "No module named 'torch_neuronx'"),
        ({"torch_neuronx": str(STAND_INS / "torch_neuronx" / "__init__.py")}, "the emulator's stand-in"),
        ({"tools": {**READY.tools, "neuron-ls": None}}, "install aws-neuronx-tools"),
        ({"tools": {"neuron-ls": str(ROOT / "hack/emulator/bin/neuron-ls")}}, "leave hack/emulator out of PATH"),
        ({"missing_plugins": ["pytest-timeout"]}, "-m pip install pytest-timeout"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(changed: dict[str, object], told: str) -> None:
    (sentence,) = missing(Machine(**{**vars(READY), **changed}), emulated=False)

    assert told in sentence


def test_the_emulator_needs_no_hardware() -> None:
    nothing = Machine("", can_trace=False, tools={"neuron-ls": None}, device_nodes=[], missing_plugins=[])

    assert missing(nothing, emulated=True) == []
    assert len(missing(nothing, emulated=False)) == 3


def test_the_emulators_tools_are_told_from_real_ones() -> None:
    assert is_stand_in(str(ROOT / "hack" / "emulator" / "bin" / "neuron-ls"))
    assert not is_stand_in("/opt/aws/neuron/bin/neuron-ls")


def test_the_tests_see_nothing_of_the_environment_but_what_they_need() -> None:
    given = {
        "PATH": "/bin",
        "NEURON_RT_VISIBLE_CORES": "0",
        "AWS_SECRET_ACCESS_KEY": "x",
        "NEURON_EMULATOR_STATE": "/s",
    }

    assert passed_on(given) == {"PATH": "/bin", "NEURON_RT_VISIBLE_CORES": "0"}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_no_secret_is_in_a_report(secret: str) -> None:
    tests = [Outcome("test_a", "failed", 1.0, f"E  Popen(env={secret})")]
    told = verification(FileRun("test_x.py", 1.0, tests, trouble=f"pytest ended with -11:\n{secret}"))

    value = secret.rpartition("=")[2].rpartition('"session_token": ')[2]
    assert value not in as_json(told)
    assert value not in as_markdown(told)


def test_what_is_private_here_is_replaced() -> None:
    assert (
        without_secrets("File /home/me/it/x.py", [("/home/me/it", "<repository>"), ("", "?")])
        == "File <repository>/x.py"
    )


def test_the_report_as_json() -> None:
    told = json.loads(as_json(verification(RUN)))

    assert (told["schema"], told["passed"], told["emulated"]) == (SCHEMA, False, False)
    assert told["versions"] == {"driver": "2.24"}
    assert [test["outcome"] for test in told["files"][0]["tests"]] == ["passed", "failed", "skipped"]


def test_the_report_as_a_page() -> None:
    page = as_markdown(
        verification(RUN, FileRun("test_processes.py", 3.0, [], "pytest ended with -11:\nSegmentation fault"))
    )

    assert "1 passed, 1 failed, 1 skipped; 1 of 2 files did not run to their end." in page
    assert "| test_a | passed | 1.00 |" in page
    assert "    E   assert 1 == 2" in page
    assert "    Segmentation fault" in page


def test_long_messages_keep_their_end() -> None:
    run = FileRun("test_x.py", 1.0, [Outcome("a", "failed", 1.0, "# " * MESSAGE_LENGTH + "the end")])
    (test,) = json.loads(as_json(verification(run)))["files"][0]["tests"]

    assert len(test["message"]) == MESSAGE_LENGTH
    assert test["message"].endswith("the end")


@pytest.mark.parametrize(
    ("runs", "is_good"),
    [
        ([], False),
        ([FileRun("a", 1, [])], False),
        ([FileRun("a", 1, [Outcome("t", "passed", 1)])], True),
        ([FileRun("a", 1, [Outcome("t", "passed", 1)], "pytest ended with 139")], False),
        ([FileRun("a", 1, [Outcome("t", "passed", 1), Outcome("u", "skipped", 1)])], False),
    ],
)
def test_only_a_run_in_which_every_test_passed_is_good(runs: list[FileRun], is_good: bool) -> None:
    assert verification(*runs).is_good == is_good


def test_nothing_run_is_said_so() -> None:
    assert summary(verification(FileRun("a", 1, [], "x"))) == "no test ran; 1 of 1 files did not run to their end"


def test_every_contract_file_is_run() -> None:
    assert [path.name for path in contract_files()] == ["test_neuron_tools.py", "test_processes.py", "test_tracing.py"]
    assert contract_files("no-such") == []


@pytest.fixture
def environment() -> dict[str, str]:
    return passed_on({"PATH": "/usr/bin:/bin", "HOME": "/root", "API_TOKEN": "hunter2"})


CRASHES = """
import os, warnings

def test_is_good():
    warnings.warn("a library's own")
    assert "API_TOKEN" not in os.environ

def test_fails():
    assert 1 == 2

def test_takes_the_process_with_it():
    os.kill(os.getpid(), 9)
"""


@pytest.mark.integration
def test_a_crash_leaves_what_was_known_before_it(tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "test_crashes.py"
    path.write_text(CRASHES)
    run = run_file(path, environment)

    assert [(test.name, test.outcome) for test in run.outcomes] == [
        ("test_is_good", "passed"),
        ("test_fails", "failed"),
    ]
    assert "assert 1 == 2" in run.outcomes[1].message
    assert run.trouble.startswith("pytest ended with -9")


@pytest.mark.integration
def test_a_file_that_takes_too_long_is_ended(tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "test_hangs.py"
    path.write_text("import time\ndef test_hangs():\n    time.sleep(600)\n")

    assert run_file(path, environment, limit_seconds=0.5).trouble.startswith("pytest was ended after 0.5 s")


@pytest.mark.integration
def test_a_file_that_cannot_be_imported_is_an_error(tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "test_broken.py"
    path.write_text("import no_such_module\n")
    run = run_file(path, environment)

    assert [test.outcome for test in run.outcomes] == ["error"]
    assert "no_such_module" in run.outcomes[0].message


@pytest.mark.integration
def test_without_neuron_it_says_what_is_missing_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--output", str(tmp_path / "report")]) == 2

    told = capsys.readouterr().out
    assert "there is no /dev/neuron0" in told
    assert "Nothing was run" in told
    assert not (tmp_path / "report").exists()


def test_a_name_that_no_file_has_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--emulated", "--only", "no-such", "--output", str(tmp_path)]) == 2
    assert "'no-such'" in capsys.readouterr().out


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_emulated_it_runs_the_contract_and_writes_the_report(tmp_path: Path) -> None:
    """The unchanged tests of tracing: one process, the shortest of the three files."""
    command = [sys.executable, "-m", "hardware", "--emulated", "--only", "tracing", "--output", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT / "hack", capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["passed"]
    assert told["emulated"]
    assert len(told["files"][0]["tests"]) >= 15
    assert told["versions"]["torch"]
    assert "(this proves nothing about Neuron)" in (tmp_path / "report.md").read_text()
