"""What all tests share: options, hypothesis profiles, and the folder of worked examples beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_SLOW_MACHINES = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile(
    "ci",
    max_examples=100,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=_SLOW_MACHINES,
)
settings.register_profile(
    "dev", max_examples=50, deadline=None, suppress_health_check=_SLOW_MACHINES
)
settings.load_profile("dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--mutations",
        type=int,
        default=20_000,
        help="how many damaged messages tests/contracts/test_mutations.py decodes and applies",
    )


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with `vectors.json`, beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "vectors.json").is_file():
        pytest.skip(f"no worked examples: {folder} is missing")
    return folder
