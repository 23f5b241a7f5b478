"""YAML documents with the lines that their fields are on, for errors that lead into the file. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from neuron_operator.errors import OperatorError


class NotYamlError(OperatorError):
    """The text is no YAML; `line` is where that shows."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Document:
    """One document of a file; `number` and lines count from 1."""

    number: int
    body: Any
    _root: yaml.Node

    @property
    def line(self) -> int:
        return int(self._root.start_mark.line) + 1

    def objects(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The objects in it, each with the path that leads to its fields; `kubectl get` writes several as a List."""
        items = self.body.get("items") if self.body.get("kind") == "List" else None
        if not isinstance(items, list):
            yield "", self.body
            return
        for index, item in enumerate(items):
            if isinstance(item, dict):
                yield f"items[{index}].", item

    def line_of(self, path: str) -> int:
        """Where the field is, such as spec.pod.env[2].name; one that is missing should be where its parent is."""
        return _line_of(self._root, path, self.line)


def documents_in(text: str) -> Iterator[Document]:
    """Every document that isn't empty. Raises NotYamlError."""
    number = 0
    try:
        loader = yaml.SafeLoader(text)
        while loader.check_node():
            number += 1
            root = loader.get_node()
            body = loader.construct_document(root) if root is not None else None
            if root is not None and body is not None:
                yield Document(number, body, root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it can't be read"
        raise NotYamlError(problem, mark.line + 1 if mark else 1) from error
    except yaml.reader.ReaderError as error:
        raise NotYamlError(error.reason, text.count("\n", 0, error.position) + 1) from error


def _line_of(node: yaml.Node, path: str, line: int) -> int:
    """Keys may hold dots themselves, so a path is followed by the keys that are there instead of being split."""
    for step, key_line, child in _children(node):
        rest = path.removeprefix(step)
        if rest != path and rest[:1] in ("", ".", "["):
            return _line_of(child, rest.removeprefix("."), key_line)
    return line


def _children(node: yaml.Node) -> Iterator[tuple[str, int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield key.value, key.start_mark.line + 1, value
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield f"[{index}]", item.start_mark.line + 1, item
