"""The command line of the preflight checks, where there is no cluster to ask; with one it is an integration test."""

from pathlib import Path

import pytest

from neuron_operator.__main__ import main


def test_a_cluster_that_cannot_be_read_is_one_line_and_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert main(["preflight"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("the cluster can't be read: ")
    assert len(told.err.splitlines()) == 1
