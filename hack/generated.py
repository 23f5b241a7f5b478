"""What every hack/gen_*.py ends in: write the files it generates, or with --check say which of them are stale."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def write_or_check(files: Mapping[Path, str], arguments: Sequence[str]) -> int:
    """The exit status: 1 when `--check` finds a file that differs from its content in `files`."""
    if list(arguments) not in ([], ["--check"]):
        print(f"unknown arguments {list(arguments)}; only --check is known", file=sys.stderr)
        return 2
    stale = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if arguments:
            print(f"{path.relative_to(ROOT)} is stale: run make generate", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if arguments and stale else 0
