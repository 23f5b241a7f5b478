"""What is prepared for pods: a subset of the lock file, and folders that are replaced whole."""

import re
from pathlib import Path

import pytest

from emulator import site_packages
from emulator.site_packages import REQUIREMENTS, prepare, requirement_subset

LOCK = """\
# compiled
numpy==2.4.6 \\
    --hash=sha256:aa
    # via x
torch==2.9.1 \\
    --hash=sha256:bb \\
    --hash=sha256:cc
    # via transformers
triton==3.5.1 \\
    --hash=sha256:dd
nvidia-nccl-cu12==2.27.5 \\
    --hash=sha256:ee
torchvision==1 \\
    --hash=sha256:ff
"""


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_packages, "install_torch", lambda requirements, to: (to / "torch.txt").write_text("x"))


def test_the_subset_has_torch_and_what_importing_it_needs() -> None:
    subset = requirement_subset(LOCK)

    assert re.findall(r"^\S+==\S+", subset, re.MULTILINE) == ["torch==2.9.1", "nvidia-nccl-cu12==2.27.5"]
    assert re.findall(r"sha256:(\w+)", subset) == ["bb", "cc", "ee"]


def test_a_lock_without_torch_is_refused() -> None:
    with pytest.raises(ValueError, match="no torch"):
        requirement_subset("numpy==2.4.6\n")


def test_what_shadows_an_images_packages_has_the_images_versions() -> None:
    def versions(text: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))

    mounted = versions(requirement_subset(REQUIREMENTS.read_text()))
    image = versions((REQUIREMENTS.parent / "runtime.txt").read_text())

    shared = mounted.keys() & image.keys()
    assert shared, "expected at least typing-extensions in both"
    assert {name: mounted[name] for name in shared} == {name: image[name] for name in shared}


@pytest.mark.usefixtures("without_torch")
def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first = prepare(tmp_path, LOCK)

    assert prepare(tmp_path, LOCK) == first
    assert (tmp_path / "torch" / "torch.txt").exists()
    assert (tmp_path / "stand-ins" / "torch_neuronx" / "__init__.py").exists()


@pytest.mark.usefixtures("without_torch")
def test_a_new_version_leaves_the_old_folder_to_the_pods_that_run(tmp_path: Path) -> None:
    before = prepare(tmp_path, LOCK)["torch"]

    after = prepare(tmp_path, LOCK.replace("2.9.1", "2.9.2"))["torch"]

    assert before.exists()
    assert (tmp_path / "torch").resolve() == after != before


def test_an_interrupted_run_leaves_no_folder_that_looks_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(requirements: str, to: Path) -> None:
        (to / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(site_packages, "install_torch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, LOCK)
    assert not list(tmp_path.glob("torch*"))

    monkeypatch.setattr(site_packages, "install_torch", lambda requirements, to: (to / "whole").touch())
    prepare(tmp_path, LOCK)

    assert [path.name for path in (tmp_path / "torch").iterdir()] == ["whole"]
    assert not list(tmp_path.glob(".unfinished-*"))


@pytest.mark.usefixtures("without_torch")
def test_every_user_id_can_read_the_copies(tmp_path: Path) -> None:
    folders = prepare(tmp_path, LOCK)

    for path in (folders["stand-ins"], *folders["stand-ins"].rglob("*")):
        wanted = 0o5 if path.is_dir() else 0o4
        assert path.stat().st_mode & wanted == wanted, path
