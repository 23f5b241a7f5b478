"""The command line: what it prints, where errors go, and that none ends in a traceback."""

import io
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_builders import model_body
from neuron_operator.__main__ import main

ROOT = Path(__file__).parents[2]
Captured = pytest.CaptureFixture[str]


def write(folder: Path, *bodies: Any) -> str:
    target = folder / "model.yaml"
    target.write_text(yaml.safe_dump_all(bodies))
    return str(target)


def run(capsys: Captured, *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def without_uid(**spec: Any) -> dict[str, Any]:
    body = model_body(**spec)
    del body["metadata"]["uid"]
    return body


def test_crd_prints_the_definition(capsys: Captured) -> None:
    code, out, _ = run(capsys, "crd")
    assert code == 0
    assert yaml.safe_load(out)["metadata"]["name"] == "neuronmodels.neuron-serving.dev"


def test_render_prints_children_that_kubectl_takes(tmp_path: Path, capsys: Captured) -> None:
    code, out, _ = run(capsys, "render", "-f", write(tmp_path, without_uid()))
    children = list(yaml.safe_load_all(out))
    assert code == 0
    assert [child["kind"] for child in children] == ["Deployment", "Service", "PodDisruptionBudget"]
    assert all("ownerReferences" not in child["metadata"] for child in children)
    assert "&id" not in out


def test_render_reads_stdin_and_skips_other_kinds(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    documents = yaml.safe_dump_all([{"apiVersion": "v1", "kind": "ConfigMap"}, None, model_body()])
    monkeypatch.setattr("sys.stdin", io.StringIO(documents))
    code, out, _ = run(capsys, "render", "-f", "-")
    assert code == 0
    assert out.count("kind: Deployment") == 1


def test_explain_says_where_and_why(tmp_path: Path, capsys: Captured) -> None:
    code, out, _ = run(capsys, "explain", "-f", write(tmp_path, model_body(replicas=3)))
    assert code == 0
    assert "NeuronModel shop/sentiment: can be placed" in out
    assert "3 of 2 each, 6 NeuronCores in all" in out
    assert "inf2.xlarge" in out


def test_explain_prints_weights_and_how_many_replicas_fit(tmp_path: Path, capsys: Captured) -> None:
    body = model_body(neuronCores=1, resources={"requests": {"cpu": "1500m"}})
    _, out, _ = run(capsys, "explain", "-f", write(tmp_path, body))
    table = {row.split()[0]: " ".join(row.split()[1:]) for row in out.splitlines() if row.startswith("    inf2.")}
    # Weight, cores, device memory, cpu and memory left to pods, replicas by cores and by host, price.
    assert table["inf2.xlarge"] == "100 2 32 GiB 3.92 cpu, 13.8 GiB 2 2 0.76"
    assert table["inf2.8xlarge"] == "75 2 32 GiB 31.85 cpu, 115.5 GiB 2 21 1.97"
    assert "host: 1.5 cpu each" in out


def test_explain_prints_a_node_pool_that_can_be_pasted(tmp_path: Path, capsys: Captured) -> None:
    _, out, _ = run(capsys, "explain", "-f", write(tmp_path, model_body()))
    start = out.index("    apiVersion: karpenter.sh/v1")
    assert yaml.safe_load(textwrap.dedent(out[start:]))["kind"] == "NodePool"


def test_the_page_on_placement_shows_what_explain_prints(capsys: Captured) -> None:
    page = (ROOT / "docs" / "placement.md").read_text(encoding="utf-8")
    command, _, shown = page.partition("```text\n$ neuron-operator ")[2].partition("```")[0].partition("\n")
    assert command == "explain -f examples/03-placement.yaml"
    _, out, _ = run(capsys, "explain", "-f", str(ROOT / "examples" / "03-placement.yaml"))
    assert shown == out


def test_explain_answers_for_each_model_of_a_file(tmp_path: Path, capsys: Captured) -> None:
    bodies = (model_body("first"), model_body("second", neuronCores=3), {"kind": "ConfigMap"}, model_body("third"))
    code, out, _ = run(capsys, "explain", "-f", write(tmp_path, *bodies))
    assert code == 1
    assert [line for line in out.splitlines() if line.startswith("NeuronModel")] == [
        "NeuronModel shop/first: can be placed",
        "NeuronModel shop/second: can't be placed",
        "NeuronModel shop/third: can be placed",
    ]


def test_a_list_as_kubectl_prints_it_is_read_item_by_item(tmp_path: Path, capsys: Captured) -> None:
    items = [model_body("first"), {"kind": "ConfigMap"}, "text", model_body("second")]
    listed = {"apiVersion": "v1", "kind": "List", "items": items, "metadata": {"resourceVersion": ""}}
    code, out, _ = run(capsys, "explain", "-f", write(tmp_path, listed))
    assert code == 0
    assert out.count("can be placed") == 2
    items.append(model_body("third", replicas=-1))
    file = write(tmp_path, listed)
    code, _, err = run(capsys, "explain", "-f", file)
    lines = Path(file).read_text().splitlines()
    assert (code, err.split(":")[1]) == (1, str(lines.index("    replicas: -1") + 1))


def test_explain_says_why_not(tmp_path: Path, capsys: Captured) -> None:
    body = model_body(placement={"instanceTypes": ["inf2.6xlarge"]})
    code, out, _ = run(capsys, "explain", "-f", write(tmp_path, body))
    assert code == 1
    assert "NoMatchingInstanceType: inf2.6xlarge is not" in out


def test_explain_tells_of_a_suspended_model(tmp_path: Path, capsys: Captured) -> None:
    _, out, _ = run(capsys, "explain", "-f", write(tmp_path, model_body(suspend=True, replicas=2)))
    assert "0, because spec.suspend is true (2 otherwise)" in out


def test_render_of_what_cannot_be_placed_prints_no_children(tmp_path: Path, capsys: Captured) -> None:
    code, out, err = run(capsys, "render", "-f", write(tmp_path, model_body(neuronCores=3)))
    assert (code, out) == (1, "")
    assert "SchedulerExtensionRequired" in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a: [1", ":1: is not YAML: expected ',' or ']'", id="not-yaml"),
        pytest.param("a: 1\n---\nb: 1\n c: 2", ":4: is not YAML: mapping values", id="second-document-not-yaml"),
        pytest.param("\n\njust text", ":3: document 1: must be an object", id="not-an-object"),
        pytest.param("kind: ConfigMap", "no NeuronModel in it", id="no-model"),
        pytest.param("", "no NeuronModel in it", id="empty"),
        pytest.param("kind: NeuronModel\nspec: 3", ":1: document 1: metadata.name: required", id="nothing-but-a-kind"),
        pytest.param("a: 1\n\x00", ":2: is not YAML: special characters", id="binary"),
    ],
)
def test_a_file_that_is_no_model_is_told_in_one_line(tmp_path: Path, capsys: Captured, text: str, words: str) -> None:
    target = tmp_path / "model.yaml"
    target.write_text(text)
    code, out, err = run(capsys, "explain", "-f", str(target))
    assert (code, out) == (1, "")
    assert words in err
    assert err.startswith(str(target))


def test_a_file_that_is_not_there_is_told(capsys: Captured) -> None:
    code, _, err = run(capsys, "explain", "-f", "/nowhere/model.yaml")
    assert (code, err) == (1, "/nowhere/model.yaml: can't be read: No such file or directory\n")


def test_wrong_fields_are_told_one_a_line_with_document_and_path(tmp_path: Path, capsys: Captured) -> None:
    wrong = model_body(neuronCors=2, replicas=-1)
    code, _, err = run(capsys, "explain", "-f", write(tmp_path, model_body(), wrong))
    assert code == 1
    assert "document 2: spec.neuronCors: unknown field; did you mean neuronCores?" in err.splitlines()[1]
    assert len(err.splitlines()) == 2


def test_a_wrong_field_is_told_with_its_line(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    text = """\
apiVersion: neuron-serving.dev/v1alpha1
kind: NeuronModel
metadata: {name: sentiment}
spec:
  artifact: {uri: "s3://models/sentiment/"}
  neuronCores: 2
  placement:
    nodeSelector:
      team: search
      topology.kubernetes.io/zone: not a value
    instanceTypes:
      - inf2.xlarge
      - INF2
"""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"# comment\n---\n{text}"))
    code, _, err = run(capsys, "explain", "-f", "-")
    assert code == 1
    assert [line.split(":")[:2] for line in err.splitlines()] == [["-", "15"], ["-", "12"]]


def test_a_wrong_setting_is_told_by_its_variable(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEURON_OPERATOR_WORKERS", "many")
    code, _, err = run(capsys, "render", "-f", write(tmp_path, model_body()))
    assert code == 1
    assert err.startswith("NEURON_OPERATOR_WORKERS: ")


def test_no_command_is_a_usage_error(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "usage: neuron-operator" in capsys.readouterr().err
