"""The list of images and what they are keyed and selected by."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images.catalog import IMAGES, PREFIX, REPOSITORY, cache_dir, digest, wheel_platforms


@pytest.mark.parametrize("name", IMAGES)
def test_image_names_files_that_exist(name: str) -> None:
    image = IMAGES[name]
    assert (REPOSITORY / image.dockerfile).is_file()
    assert not image.requirements or (REPOSITORY / image.requirements).is_file()
    assert image.tag_name.startswith(f"{PREFIX}/")
    assert image.tag_name.endswith(":dev")


# Few letters, so that often the same text is only cut in other places.
@settings(max_examples=50)
@given(*[st.lists(st.text("01:\0\n", max_size=4), max_size=4)] * 2)
def test_digest_differs_when_the_parts_do(left: list[str], right: list[str]) -> None:
    assert (digest(*left) == digest(*right)) == (left == right)


def test_wheel_platforms_go_from_new_to_old_and_stop_at_the_bases_glibc() -> None:
    tags = wheel_platforms("x86_64", newest_glibc_minor=28)
    assert tags[0] == "manylinux_2_28_x86_64"
    assert "manylinux_2_17_x86_64" in tags
    assert tags[-4:] == ("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64")


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEURON_SERVING_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
