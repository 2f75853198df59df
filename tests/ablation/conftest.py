"""Makes the modules of ``tools/`` importable, as they are for ``tools/ablate.py``."""

from __future__ import annotations

import sys

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
