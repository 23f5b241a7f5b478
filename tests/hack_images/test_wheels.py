"""Which wheels are downloaded for an image, and what the cache keys them by."""

from pathlib import Path

from images.catalog import IMAGES
from images.wheels import download_command, wheels_key

RUNTIME = IMAGES["runtime"].requirements


def test_download_takes_pinned_wheels_for_the_images_python_only() -> None:
    command = download_command(RUNTIME, "3.12", Path("/somewhere"))
    for option in ("--require-hashes", "--no-deps", "--only-binary=:all:", "--python-version=3.12", "--abi=cp312"):
        assert option in command


def test_another_python_or_another_image_has_wheels_of_its_own() -> None:
    keys = {
        wheels_key(RUNTIME, "3.11"),
        wheels_key(RUNTIME, "3.12"),
        wheels_key(IMAGES["operator"].requirements, "3.11"),
    }
    assert len(keys) == 3
