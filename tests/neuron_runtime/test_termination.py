"""The termination message: always valid JSON of the published schema, never over the kubelet's limit."""

import json
from pathlib import Path

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_runtime.termination import MAX_BYTES, FatalError, Reason, TerminationMessage

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/reference/termination-message.schema.json").read_text())
texts = st.text(max_size=300) | st.builds(lambda text, times: text * times, st.text(max_size=6), st.integers(0, 3000))


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(Reason), texts, texts, st.dictionaries(st.text(max_size=9), texts, max_size=3))
def test_every_message_fits_and_keeps_to_its_schema(
    reason: Reason, message: str, hint: str, details: dict[str, str]
) -> None:
    encoded = TerminationMessage(reason=reason, message=message, hint=hint, details=details).to_bytes()
    assert len(encoded) <= MAX_BYTES
    content = json.loads(encoded)
    jsonschema.validate(content, SCHEMA)
    assert content["reason"] == reason
    assert content["message"] == message or message.startswith(content["message"].removesuffix("…"))


def test_the_message_is_cut_before_anything_else_is_lost() -> None:
    error = FatalError(Reason.DISK_FULL, "é" * 9000, hint="Free space.", details={"path": "/model"})
    encoded = TerminationMessage.from_error(error).to_bytes()
    content = json.loads(encoded)
    assert content["hint"] == "Free space."
    assert content["details"] == {"path": "/model"}
    assert content["message"].endswith("é…")
    assert len(encoded) > MAX_BYTES - 4


def test_a_short_message_is_written_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    message = TerminationMessage(reason=Reason.DISK_FULL, message="full", hint="free it")
    assert message.write(path)
    assert TerminationMessage.model_validate_json(path.read_bytes()) == message


def test_writing_where_nothing_can_be_written_does_not_raise(tmp_path: Path) -> None:
    message = TerminationMessage(reason=Reason.DISK_FULL, message="full", hint="free it")
    assert not message.write(tmp_path / "nothing" / "here")
    assert not message.write(Path("/dev/termination-log-of-no-pod"))
