"""Packs the configs and models of the top level into the package; all else about it stands in
setup.cfg.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = {"configs": ("*.yaml", "*.py"), "models": ("*.safetensors", "*.md")}


class BuildWithShipped(build_py):
    """Copies what comes with the package into it: one source in the checkout, one place in the
    wheel.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the checkout's own folders are found beside the package
            return
        for folder, patterns in SHIPPED.items():
            for pattern in patterns:
                for source in sorted((ROOT / folder).rglob(pattern)):
                    target = Path(self.build_lib, "clipmask", source.relative_to(ROOT))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, target)


setup(cmdclass={"build_py": BuildWithShipped})
