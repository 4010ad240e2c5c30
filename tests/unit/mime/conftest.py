"""Puts this folder and the fuzz targets on the path: some tests share their readers and invariants."""

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parents[2] / "fuzz"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
