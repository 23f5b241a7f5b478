"""What a Hugging Face model folder says about texts and labels: tokenizer, padding, longest input, classes, pooling.

Reads the folder's JSON files and nothing else; every value comes with the file it was found in, so that `pack` can say
what it assumed. A value that no file gives is None.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuron_runtime.termination import FatalError, Reason


@dataclass(frozen=True)
class ModelFolder:
    tokenizer: Path
    pad_id: int | None
    pad_side: str | None
    max_tokens: int | None
    labels: tuple[str, ...] | None
    is_multi_label: bool
    pooling: str | None
    normalize: bool | None


def read_model_folder(given: Path) -> ModelFolder:
    """`given` is the folder, or the tokenizer.json in it."""
    folder = given.parent if given.is_file() else given
    tokenizer = given if given.is_file() else folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"There is no tokenizer.json in {folder}.",
            hint="Write one with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER).",
        )
    config, tokenizer_config = read_object(folder / "config.json"), read_object(folder / "tokenizer_config.json")
    pad_token = tokenizer_config.get("pad_token")
    pad_text = pad_token.get("content") if isinstance(pad_token, dict) else pad_token
    pad_id = _added_tokens(tokenizer).get(str(pad_text), config.get("pad_token_id"))
    limits = [config.get("max_position_embeddings"), tokenizer_config.get("model_max_length")]
    # Tokenizers without a limit of their own say 1e30.
    known = [int(limit) for limit in limits if isinstance(limit, int | float) and limit < 1e9]
    modules = (folder / "modules.json").is_file()
    return ModelFolder(
        tokenizer=tokenizer,
        pad_id=pad_id,
        pad_side=tokenizer_config.get("padding_side"),
        max_tokens=min(known, default=None),
        labels=labels_of(config),
        is_multi_label=config.get("problem_type") == "multi_label_classification",
        pooling=_pooling(read_object(folder / "1_Pooling" / "config.json")),
        normalize=any("Normalize" in str(m.get("type")) for m in _list(folder / "modules.json")) if modules else None,
    )


def labels_of(config: dict[str, Any]) -> tuple[str, ...] | None:
    names = config.get("id2label")
    if not isinstance(names, dict):
        return None
    ordered = tuple(str(names[key]) for key in sorted(names, key=int))
    # transformers writes LABEL_0, LABEL_1 where nobody named them.
    return None if all(name.startswith("LABEL_") for name in ordered) else ordered


def _pooling(config: dict[str, Any]) -> str | None:
    if config.get("pooling_mode_mean_tokens"):
        return "mean"
    return "cls" if config.get("pooling_mode_cls_token") else None


def _added_tokens(tokenizer: Path) -> dict[str, int]:
    content = read_object(tokenizer)
    return {str(token.get("content")): int(token["id"]) for token in content.get("added_tokens") or []}


def read_object(path: Path) -> dict[str, Any]:
    """Empty where there is no such file, or something other than an object in it."""
    content = _json(path)
    return content if isinstance(content, dict) else {}


def _list(path: Path) -> list[dict[str, Any]]:
    content = _json(path)
    return [item for item in content if isinstance(item, dict)] if isinstance(content, list) else []


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FatalError(
            Reason.INVALID_CONFIGURATION, f"{path} cannot be read as JSON: {error}.", hint="Repair or remove the file."
        ) from error
