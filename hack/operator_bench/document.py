"""The tables of docs/operator-benchmarks.md, written from the kept results; the rest of the page is by hand."""

from pathlib import Path

from bench import document
from bench.document import END
from local_control_plane import ROOT
from operator_bench import table
from operator_bench.results import Results

PAGE = ROOT / "docs" / "operator-benchmarks.md"
BEGIN = "<!-- results: written by python -m operator_bench docs -->"
__all__ = ["BEGIN", "END", "PAGE", "replaced", "section", "write"]


def write(results: Results, page: Path = PAGE) -> None:
    """Replace what lies between the page's two marks."""
    page.write_text(replaced(page.read_text(), section(results)))


def section(results: Results) -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in results.machine.items())
    return f"Measured on:\n\n{facts}\n\n{table.markdown(results.findings)}"


def replaced(text: str, inner: str) -> str:
    return document.replaced(text, inner, BEGIN)
