"""The extra that Parquet files need; everything else of the archive does without."""

from __future__ import annotations

import importlib.util

from stream.errors import SetupError


def require_pyarrow() -> None:
    """See to it that Parquet files can be read and written, before anything that does is imported.

    Raises
    ------
    SetupError
        Where pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise SetupError(
            "Parquet files need the package pyarrow; run: pip install 'capstream[archive]'"
        )
