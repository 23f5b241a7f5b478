"""The command line: `run` the operator, `preflight` or `plan-rollout` on a cluster; the rest (`explain`, …) needs none.

Errors of the user end in one line a problem on stderr and exit code 1, never in a traceback.
"""

import argparse
import importlib
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from neuron_operator import __version__, names
from neuron_operator.api import NeuronModel
from neuron_operator.api.problems import problems_in
from neuron_operator.api.schema import custom_resource_definition
from neuron_operator.documents import Document, NotYamlError, documents_in
from neuron_operator.errors import ApiError, InvalidSpecError, OperatorError
from neuron_operator.explanation import explanation
from neuron_operator.manifests import as_yaml
from neuron_operator.placement import Rejection, choose_placement
from neuron_operator.preflight.checks import has_failed, table
from neuron_operator.render import desired_children, pod_template
from neuron_operator.settings import ENV_PREFIX, Settings


class InputError(OperatorError):
    """The file can't be used; the message is for the person who named it."""


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.command(parsed))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="neuron-operator", description="The operator of NeuronModel objects.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help=f"watch the cluster and serve models; settings from {ENV_PREFIX}* variables")
    run.set_defaults(command=_run)
    render = commands.add_parser("render", help="print what a NeuronModel becomes, as YAML")
    render.set_defaults(command=_render)
    explain = commands.add_parser("explain", help="say where a NeuronModel may run, and why")
    explain.set_defaults(command=_explain)
    planned = commands.add_parser("plan-rollout", help="say how a change would be rolled out on KUBECONFIG's cluster")
    planned.set_defaults(command=_plan_rollout)
    checked = commands.add_parser("preflight", help="check what models need of KUBECONFIG's cluster around them")
    checked.set_defaults(command=_preflight)
    for command in (render, explain, planned):
        command.add_argument("-f", "--filename", required=True, help="YAML file with NeuronModels; - for stdin")
    commands.add_parser("crd", help="print the CustomResourceDefinition as YAML").set_defaults(command=_crd)
    return parser


def _run(_: argparse.Namespace) -> int:
    # Until the process has its own handlers; as the first process of a container it would otherwise not even notice.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = _settings()
    # Only here and to plan: the other commands need neither a cluster nor the libraries that talk to one.
    importlib.import_module("neuron_operator.process").run(settings)
    return 0


def _crd(_: argparse.Namespace) -> int:
    print(as_yaml([custom_resource_definition()]), end="")
    return 0


def _render(parsed: argparse.Namespace) -> int:
    settings = _settings()
    children: list[dict[str, Any]] = []
    for model in _models(parsed.filename):
        placement = choose_placement(model.spec, settings)
        if isinstance(placement, Rejection):
            raise InputError(f"{parsed.filename}: {model.name}: {placement.reason}: {placement.message}")
        children += desired_children(model, pod_template(model, placement, settings))
    for child in children:
        # An owner is known by its uid, which only an object on a cluster has.
        if not child["metadata"]["ownerReferences"][0]["uid"]:
            del child["metadata"]["ownerReferences"]
    print(as_yaml(children), end="")
    return 0


def _explain(parsed: argparse.Namespace) -> int:
    settings = _settings()
    answers = [explanation(model, settings) for model in _models(parsed.filename)]
    print("\n".join(text for text, _ in answers), end="")
    return 0 if all(is_placeable for _, is_placeable in answers) else 1


def _plan_rollout(parsed: argparse.Namespace) -> int:
    settings, models = _settings(), _models(parsed.filename)
    try:
        answers = importlib.import_module("neuron_operator.survey").rehearsals(models, settings)
    except ApiError as error:
        raise InputError(f"the cluster can't be read: {error}") from error
    print("\n".join(text for text, _ in answers), end="")
    return 0 if all(can_finish for _, can_finish in answers) else 1


def _preflight(_: argparse.Namespace) -> int:
    settings = _settings()
    try:
        findings = importlib.import_module("neuron_operator.preflight.survey").preflight(settings)
    except ApiError as error:
        raise InputError(f"the cluster can't be read: {error}") from error
    print(table(findings), end="")
    return 1 if has_failed(findings) else 0


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        problems = problems_in(error, "", Settings)
        raise InputError(
            "\n".join(f"{ENV_PREFIX}{problem.path.lstrip('.').upper()}: {problem.message}" for problem in problems)
        ) from error


def _models(filename: str) -> list[NeuronModel]:
    """Every NeuronModel of the file, strictly read; other kinds beside them are skipped."""
    models = []
    for document in _documents(filename):
        for path, body in document.objects():
            if body.get("kind") != names.KIND and "kind" in body:
                continue
            try:
                models.append(NeuronModel.parse(body, strict=True))
            except InvalidSpecError as error:
                lines = [
                    f"{filename}:{document.line_of(f'{path}{problem.path}')}: document {document.number}: {problem}"
                    for problem in error.problems
                ]
                raise InputError("\n".join(lines)) from error
    if not models:
        raise InputError(f"{filename}: no {names.KIND} in it; an example is examples/01-sentiment.yaml")
    return models


def _documents(filename: str) -> Iterator[Document]:
    try:
        text = sys.stdin.read() if filename == "-" else Path(filename).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{filename}: can't be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        documents = list(documents_in(text))
    except NotYamlError as error:
        raise InputError(f"{filename}:{error.line}: is not YAML: {error}") from error
    for document in documents:
        if not isinstance(document.body, dict):
            raise InputError(
                f"{filename}:{document.line}: document {document.number}: must be an object with kind and spec, "
                f"not {document.body!r:.40}"
            )
        yield document


if __name__ == "__main__":
    sys.exit(main())
