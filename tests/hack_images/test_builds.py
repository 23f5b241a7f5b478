"""Sizes, commands and the command line; the builds themselves are in test_built_images.py."""

import pytest

from images.__main__ import main
from images.builds import BUILDAH, Base, build_command, product_version, size_mb
from images.catalog import IMAGES
from images.errors import ImageError
from images.shell import run


@pytest.mark.parametrize(
    ("text", "expected"), [("228 MB", 228.0), ("1.2 GB", 1200.0), ("512 KB", 0.512), ("9 B", 9e-6)]
)
def test_size_is_read_in_megabytes(text: str, expected: float) -> None:
    assert size_mb(text) == pytest.approx(expected)


def test_version_is_three_numbers() -> None:
    assert [part.isdigit() for part in product_version().split(".")] == [True] * 3


def test_failed_command_says_what_it_printed() -> None:
    with pytest.raises(ImageError, match="exit code 3:\nthe reason"):
        run(["sh", "-c", "echo the reason >&2; exit 3"])


def test_missing_tool_is_named() -> None:
    with pytest.raises(ImageError, match="no-such-tool is not installed"):
        run(["no-such-tool"])


@pytest.mark.parametrize("arguments", [["build", "nothing"], ["reload", "s3"], []], ids=["image", "reload", "empty"])
def test_unknown_arguments_end_with_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m images" in capsys.readouterr().err


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_build_on_another_base_takes_that_base_and_its_wheels() -> None:
    command = build_command(IMAGES["runtime"], Base("example.com/base:1", "3.11"), *BUILDAH)
    assert "--build-arg=BASE_IMAGE=example.com/base:1" in command
    assert [one for one in command if one.startswith("--build-context=wheels=")]
