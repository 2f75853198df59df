"""The seam: which implementation is taken, what forces one, what a broken Detectron2 does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from clipmask import get_cfg
from clipmask.config import leaf_keys
from tests.conftest import PATIENCE, ROOT
from tests.contract import INSTALLED, needs_detectron2
from tests.forked import run_forked

SHOW = "import clipmask.d2 as d2; print(d2.IMPLEMENTATION, d2.DatasetCatalog.__class__.__module__)"


def run(code: str, path: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a new process, with ``path`` before everything else that can be imported."""
    environment = {key: value for key, value in os.environ.items() if key != "CLIPMASK_D2"}
    folders = [
        *([str(path)] if path else []),
        str(ROOT),
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    environment |= {"PYTHONPATH": os.pathsep.join(folders), **variables}
    return run_forked(["python", "-c", code], ROOT, environment, PATIENCE)


def fake(folder: Path, text: str) -> Path:
    """A package that is called detectron2 and holds ``text``."""
    (folder / "detectron2").mkdir()
    (folder / "detectron2" / "__init__.py").write_text(text)
    return folder


def test_builtin_can_be_forced() -> None:
    result = run(SHOW, CLIPMASK_D2="builtin")
    assert result.stdout.split() == ["builtin", "clipmask.builtin.catalog"], result.stderr


def test_what_is_installed_is_taken() -> None:
    result = run(SHOW)
    assert result.stdout.split()[0] == ("detectron2" if INSTALLED else "builtin"), result.stderr


def test_blocked_detectron2_is_none() -> None:
    """A hook that forbids the import stands for a machine without it."""
    block = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'detectron2': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    result = run(block + SHOW)
    assert result.stdout.split()[0] == "builtin", result.stderr


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return fake(tmp_path, "raise ImportError('numpy.core.multiarray failed to import')")


USES = [
    "import clipmask; clipmask.build_model",
    "import clipmask; clipmask.add_clipmask_config",
    "from clipmask import Predictor",
    "from clipmask import get_cfg",
    "from clipmask import *",
]


def test_a_broken_detectron2_is_one_clear_error(broken: Path) -> None:
    """Also of names that Detectron2 has no part in: a script that got on with half of them would
    fail far from here.
    """
    attempts = (
        "for use in {}:\n try:\n  exec(use)\n except ValueError as error:\n  print(repr(error))"
    )
    result = run(attempts.format(USES), broken)
    assert len(result.stdout.splitlines()) == len(USES), result.stderr
    for line in result.stdout.splitlines():
        for word in ("UserError", "detectron2", "multiarray", "CLIPMASK_D2=builtin"):
            assert word in line
    assert run(SHOW, broken, CLIPMASK_D2="builtin").stdout.split()[0] == "builtin"


def test_the_bare_import_is_quiet(broken: Path) -> None:
    """And ``UserError``, by which a script catches the error, is there, as is the report that tells
    about it.
    """
    result = run(
        "import clipmask; from clipmask import UserError, env; print(UserError.__name__,"
        " env.__name__)",
        broken,
    )
    assert (result.stdout.split(), result.stderr) == (["UserError", "clipmask.env"], "")


def test_a_detectron2_that_ends_the_process_is_an_error_too(tmp_path: Path) -> None:
    result = run(
        "import clipmask; clipmask.build_model", fake(tmp_path, "import sys; sys.exit('no')")
    )
    assert "can't be imported (SystemExit: no)" in result.stderr


def test_the_reason_is_short(tmp_path: Path) -> None:
    broken = fake(tmp_path, "raise ImportError('\\n'.join(['a compiler said this'] * 1000))")
    result = run(
        "try:\n    from clipmask import Predictor\nexcept ValueError as error:\n    print(error)",
        broken,
    )
    assert len(result.stdout) < 1000
    assert len(result.stdout.splitlines()) == 1


def test_a_detectron2_that_is_too_old_says_so(tmp_path: Path) -> None:
    """Its release 0.6 can't read label maps by a function of ours."""
    old = fake(tmp_path, "")
    names = {
        "data": "DatasetCatalog = MetadataCatalog = {}",
        "evaluation": (
            "class SemSegEvaluator:\n    def __init__(self, dataset_name): pass\nDatasetEvaluator ="
            " object"
        ),
        "layers": "ShapeSpec = object",
        "modeling": "BACKBONE_REGISTRY = META_ARCH_REGISTRY = {}\nBackbone = object",
    }
    for name, text in names.items():
        (old / "detectron2" / f"{name}.py").write_text(text)
    assert "is too old" in run("import clipmask; clipmask.build_model", old).stderr


def test_names_that_do_not_exist_are_no_matter_of_detectron2(broken: Path) -> None:
    told = "AttributeError: module 'clipmask' has no attribute 'thing'"
    assert told in run("import clipmask; clipmask.thing", broken).stderr
    assert told in run("import clipmask; clipmask.thing", CLIPMASK_D2="builtin").stderr


def test_wrong_values_of_the_variable() -> None:
    result = run("import clipmask; clipmask.get_cfg", CLIPMASK_D2="builtins")
    assert "CLIPMASK_D2=builtins is neither" in result.stderr
    if not INSTALLED:
        assert "which is not installed here" in run(SHOW, CLIPMASK_D2="detectron2").stderr


TAKEN = """
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY

def build_timm_backbone(cfg, input_shape):
    raise RuntimeError("of the other project")

class ClipMask:
    pass

{registered}
import clipmask
{then}
"""


@needs_detectron2
@pytest.mark.contract
def test_a_model_of_another_project_by_our_name_is_an_error_at_import() -> None:
    code = TAKEN.format(registered="META_ARCH_REGISTRY.register(ClipMask)", then="print('went on')")
    result = run(code)
    assert result.returncode != 0
    assert "NameTakenError" in result.stderr
    assert "ClipMask" in result.stderr.splitlines()[-1]
    assert "went on" not in result.stdout


@needs_detectron2
@pytest.mark.contract
def test_a_backbone_of_another_project_by_our_name_stays_theirs_and_ours_is_built() -> None:
    then = (
        "cfg = clipmask.load_cfg('configs/toy.yaml', ['MODEL.DEVICE', 'cpu'])\n"
        "print(type(clipmask.build_model(cfg, ('road', 'sky')).backbone).__name__)\n"
        "print(BACKBONE_REGISTRY.get('build_timm_backbone') is build_timm_backbone)\n"
    )
    code = TAKEN.format(registered="BACKBONE_REGISTRY.register(build_timm_backbone)", then=then)
    result = run(f"import os; os.chdir({str(ROOT)!r})\n{code}")
    assert result.stdout.split()[-2:] == ["TimmBackbone", "True"], result.stderr


@needs_detectron2
@pytest.mark.contract
def test_shared_config_keys_have_detectron2s_types_and_defaults() -> None:
    from detectron2.config import get_cfg as detectron2_cfg

    theirs, ours = leaf_keys(detectron2_cfg()), leaf_keys(get_cfg())
    shared = theirs.keys() & ours.keys()
    assert len(shared) > 25
    for key in shared:
        assert type(ours[key]) is type(theirs[key]), key
        assert ours[key] == theirs[key], key


def test_a_clone_in_the_working_directory_is_not_an_installation(tmp_path: Path) -> None:
    """A folder of that name without __init__.py is importable, as a namespace, and yet holds no
    Detectron2.
    """
    (tmp_path / "detectron2").mkdir()
    result = run(SHOW, tmp_path)
    assert result.stdout.split()[0] == ("detectron2" if INSTALLED else "builtin"), result.stderr
