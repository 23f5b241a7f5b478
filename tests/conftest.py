"""What holds for every test: no property is judged by its speed, and no module is imported only to be deselected.

Read by pytest before any test module, whose own Hypothesis settings start from this profile.
"""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

INTEGRATION_ONLY = re.compile(r"^pytestmark = .*\bpytest\.mark\.integration\b", re.MULTILINE)

# By default Hypothesis fails an example that takes 200 ms, and drawing that is slow: on a busy machine any may.
settings.register_profile("any-machine", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """PyTorch alone takes seconds to import, and every test that needs it is an integration test.

    A folder of such tests is left out with its fixtures.
    """
    if "not integration" not in config.option.markexpr:
        return None
    modules = list(collection_path.rglob("test_*.py")) if collection_path.is_dir() else [collection_path]
    is_left_out = all(path.suffix == ".py" and INTEGRATION_ONLY.search(path.read_text("utf-8")) for path in modules)
    return True if modules and is_left_out else None
