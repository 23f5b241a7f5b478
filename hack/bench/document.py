"""The results in docs/benchmarks.md and its plot, written from the kept findings; the rest of the page is by hand."""

from collections.abc import Sequence
from pathlib import Path

from bench import plot, table
from bench.errors import BenchError
from bench.figures import FIGURES
from bench.findings import Finding
from bench.results import Results
from bench.servers import ROOT

PAGE, PLOT = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks.svg"
BEGIN, END = "<!-- results: written by python -m bench docs -->", "<!-- end of results -->"
OF_LIMIT = "share of the limit"


def write(results: Results, page: Path = PAGE, drawing: Path = PLOT) -> None:
    """Replace what lies between the page's two marks; draw the plot if there is anything to draw."""
    charts = charts_of(results.findings)
    if charts:
        drawing.write_text(plot.svg(charts))
    page.write_text(replaced(page.read_text(), section(results, with_plot=bool(charts))))


def replaced(text: str, inner: str, opening: str = BEGIN) -> str:
    """The page with `inner` between its marks; raises BenchError where it has none."""
    before, begin, rest = text.partition(opening)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BenchError(f"the page lacks its marks; it needs a line {opening!r} and a line {END!r}")
    return f"{before}{opening}\n\n{inner}\n\n{END}{after}"


def section(results: Results, *, with_plot: bool) -> str:
    facts = [f"- {name}: {value}" for name, value in results.machine.items()]
    parts = ["Measured on:", "\n".join(facts)]
    if with_plot:
        parts.append("![Share of the limit: this runtime, the other servers, and each published row](benchmarks.svg)")
    headed = [finding for finding in results.findings if not _is_published_row(finding)]
    parts.append(table.summary(sorted(headed, key=lambda finding: list(FIGURES).index(finding.figure))))
    for name, what in FIGURES.items():
        found = [finding for finding in results.findings if finding.figure == name]
        if found:
            parts += [f"### `{name}`: {what}", f"Scale: {results.scales[name]}.", table.markdown(found)]
    return "\n\n".join(parts)


def _is_published_row(finding: Finding) -> bool:
    """One of very many; the summary has only what is said of them together."""
    return finding.figure == "rows" and " in flight, " in finding.name


def charts_of(findings: Sequence[Finding]) -> list[plot.Chart]:
    """Shares of the limit of the headline and the other servers, and of the published rows."""
    servers = [
        plot.Bar("this runtime", one.measured, is_ours=True) for one in findings if _is(one, "headline", OF_LIMIT)
    ]
    servers += [
        plot.Bar(one.name.removesuffix(f": {OF_LIMIT}"), one.measured)
        for one in findings
        if _is(one, "peers", f": {OF_LIMIT}") and not one.name.startswith("this runtime")
    ]
    rows = [plot.Bar(one.name.split(": ")[0], one.measured, is_ours=True) for one in findings if _is_published_row(one)]
    charts = []
    if servers:
        charts.append(plot.Chart("Share of the device's limit, resnet18, 64 clients", tuple(servers), 0.97))
    if rows:
        charts.append(plot.Chart("Share of the device's limit, AWS's published rows", tuple(rows)))
    return charts


def _is(finding: Finding, figure: str, ending: str) -> bool:
    return finding.figure == figure and finding.name.endswith(ending) and not finding.void
