"""Fixtures of all tests, and the environment in which TensorFlow is loaded."""

import os
from pathlib import Path

import pytest

# The same on every machine: no graphics card, and only the errors of TensorFlow's C++ part.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real logs, beside the repository or where TFREC_SHARED_DATA says."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("TFREC_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"needs the real logs: no folder {folder} (set TFREC_SHARED_DATA)")
    return folder
