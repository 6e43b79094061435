"""Load scripts of this folder by their names, wherever they are run from."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any


def beside(name: str, folder: str = "") -> Any:
    """The script `name`, loaded once; `folder` is below this one."""
    full = f"benchmarks_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).parent / folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]
