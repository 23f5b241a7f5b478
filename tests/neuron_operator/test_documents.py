"""Which line a field of a YAML file is on."""

import pytest

from neuron_operator.documents import NotYamlError, documents_in

TEXT = """\
# a comment
a: 1
b:
  c.d/e: 2
  f: {g: 3,
      h: 4}
list:
- one
- name: two
  value: 2
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        pytest.param("a", 2, id="first"),
        pytest.param("b.c.d/e", 4, id="dots-in-a-key"),
        pytest.param("b.f.h", 6, id="flow-style"),
        pytest.param("list[1].value", 10, id="item"),
        pytest.param("list[1].missing", 9, id="missing-in-an-item"),
        pytest.param("list[7]", 7, id="item-that-is-not-there"),
        pytest.param("b.missing.deeper", 3, id="missing"),
        pytest.param("missing", 2, id="missing-at-the-root"),
        pytest.param("listing", 2, id="not-a-longer-name"),
    ],
)
def test_a_field_is_found_and_a_missing_one_is_where_its_parent_is(path: str, line: int) -> None:
    [document] = documents_in(TEXT)
    assert document.line_of(path) == line


def test_lines_go_on_through_all_documents_and_empty_ones_count() -> None:
    found = [(document.number, document.line_of("a")) for document in documents_in(f"{TEXT}---\n---\nb: 1\na: 2\n")]
    assert found == [(1, 2), (3, 14)]


def test_a_text_that_is_no_yaml_is_told_with_its_line() -> None:
    with pytest.raises(NotYamlError) as raised:
        list(documents_in("a: 1\nb: [\n"))
    assert raised.value.line == 3
