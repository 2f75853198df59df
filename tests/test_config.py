"""Configuration: every key is read somewhere, every mistake is one clear error."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from clipmask import config, get_cfg, load_cfg
from clipmask.builtin.unread_keys import UNREAD, why_unread
from clipmask.config import configurable, leaf_keys, own_cfg, put_leaf, stored_cfg
from clipmask.errors import UserError
from clipmask.validate import check_config
from tests.conftest import ROOT
from tests.contract import needs_detectron2

PACKAGE = ROOT / "clipmask"


def chain(node: ast.AST, names: dict[str, str]) -> str | None:
    """``cfg.MODEL.CLIP`` as a string; local names that stand for such a chain are expanded."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        base = chain(node.value, names)
        return f"{base}.{node.attr}" if base else None
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        base = chain(node.value, names)
        return f"{base}.{node.slice.value}" if base else None
    return None


def keys_read() -> set[str]:
    """Every dotted key below a variable named ``cfg`` that the package's code reads."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name in ("config.py", "merging.py"):
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            # A section that is handed on goes by its own name.
            names = {"solver": "cfg.SOLVER", "clip": "cfg.MODEL.CLIP"}
            for node in ast.walk(function):
                if isinstance(node, ast.Assign):
                    targets, values = node.targets[0], node.value
                    pairs = (
                        zip(targets.elts, values.elts, strict=False)
                        if isinstance(targets, ast.Tuple) and isinstance(values, ast.Tuple)
                        else [(targets, values)]
                    )
                    for target, value in pairs:
                        full = chain(value, names)
                        if isinstance(target, ast.Name) and full and "cfg." in full:
                            names[target.id] = full
            for node in ast.walk(function):
                full = chain(node, names)
                if full and "cfg." in full:
                    parts = full.split("cfg.", 1)[1].split(".")
                    upper = [part for part in parts if part.isupper()]
                    if upper == parts[: len(upper)] and upper:
                        found.add(".".join(upper))
    return found


def test_every_declared_key_is_read() -> None:
    declared, read = set(leaf_keys(own_cfg())), keys_read()
    assert sorted(declared - read) == []


def test_every_key_that_is_read_is_declared() -> None:
    declared = set(leaf_keys(own_cfg()))
    sections = {".".join(key.split(".")[:depth]) for key in declared for depth in range(1, 4)}
    assert sorted(keys_read() - declared - sections) == []


def test_every_key_is_explained() -> None:
    source = (PACKAGE / "config.py").read_text().splitlines()
    above = ""
    for line in source:
        if (
            line.lstrip().startswith(("cfg.", "node."))
            and " = " in line
            and not line.endswith(("CN()", "node_type()", "node"))
        ):
            assert "  # " in line or above.lstrip().startswith("# "), line
        above = line


def test_base_files_are_read_first(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("SOLVER:\n  MAX_ITER: 5\n  BASE_LR: 0.5\n")
    (tmp_path / "leaf.yaml").write_text("_BASE_: base.yaml\nSOLVER:\n  BASE_LR: 0.25\n")
    cfg = load_cfg(tmp_path / "leaf.yaml", ["SOLVER.MAX_ITER", "7", "DATASETS.TRAIN", "('a',)"])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.DATASETS.TRAIN) == (7, 0.25, ("a",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "SOLVER:\n  MAX_ITERS: 5\n",
            r"no config key SOLVER.MAX_ITERS; did you mean SOLVER.MAX_ITER",
        ),
        ("SOLVER:\n  MAX_ITER: fast\n", r"Type mismatch.*MAX_ITER"),
        ("SOLVER: [unclosed\n", "not plain YAML"),
        ("X: !!python/object/apply:os.system ['true']\n", "not plain YAML"),
        ("_BASE_: nowhere.yaml\n", r"nowhere.yaml: no such file"),
        ("just a sentence\n", "not a mapping"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_cfg(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (
            ["SOLVER.MAX_ITERS", "5"],
            r"no config key SOLVER.MAX_ITERS; did you mean SOLVER.MAX_ITER",
        ),
        (["MODEL.CLIPMASK.QUERIES", "5"], r"did you mean .*NUM_QUERIES"),
        (["SOLVER.MAX_ITER", "fast"], "Type mismatch"),
        (["MODEL.SWIN.EMBED_DIM", "96"], "nor a section MODEL.SWIN.*--register"),
        (["MODEL.BACKBONE.TIMM_ARGS", "same"], r"^override MODEL.BACKBONE.TIMM_ARGS same: the key"),
        (["SOLVER.MAX_ITER"], "has no value"),
    ],
)
def test_wrong_overrides(opts: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_cfg(ROOT / "configs" / "toy.yaml", opts)


@pytest.mark.parametrize(
    "opts",
    [
        ["MODEL.BACKBONE.TIMM_ARGS.pad_type", "same"],
        ["MODEL.BACKBONE.TIMM_ARGS", "{'pad_type':'same'}"],
        ["MODEL.BACKBONE.TIMM_ARGS", "{pad_type: same}"],
        ["MODEL.BACKBONE.TIMM_ARGS", "{'pad_type': 'same'}", "MODEL.BACKBONE.TIMM_ARGS", "{}"],
        ["MODEL.BACKBONE.TIMM_ARGS.pad_type", "1", "MODEL.BACKBONE.TIMM_ARGS.pad_type", "same"],
    ],
)
def test_arguments_of_a_dictionary(tmp_path: Path, opts: list[str]) -> None:
    """One by one or together; those that a file gives stay, and each config has a dictionary of its
    own.
    """
    (tmp_path / "leaf.yaml").write_text("MODEL: {BACKBONE: {TIMM_ARGS: {drop_rate: 0.5}}}\n")
    given = load_cfg(tmp_path / "leaf.yaml", opts).MODEL.BACKBONE.TIMM_ARGS
    assert dict(given) == {"drop_rate": 0.5, "pad_type": "same"}
    assert dict(get_cfg().MODEL.BACKBONE.TIMM_ARGS) == {}


@pytest.mark.parametrize(
    ("value", "result"),
    [("3", 3), ("0.5", 0.5), ("True", True), ("None", None), ("(1, 2)", (1, 2)), ("a/b", "a/b")],
)
def test_values_of_a_dictionary_are_read_as_python_writes_them(value: str, result: object) -> None:
    cfg = load_cfg(ROOT / "configs" / "base.yaml", ["MODEL.BACKBONE.TIMM_ARGS.thing", value])
    assert cfg.MODEL.BACKBONE.TIMM_ARGS.thing == result


@pytest.mark.parametrize("value", ["same", "5", "[1]", "{'a': "])
def test_a_dictionary_takes_no_other_value(value: str) -> None:
    with pytest.raises(UserError, match="TIMM_ARGS"):
        load_cfg(ROOT / "configs" / "base.yaml", ["MODEL.BACKBONE.TIMM_ARGS", value])


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"no\.yaml: no such file"):
        load_cfg("no.yaml")


def test_configurable() -> None:
    class Thing:
        @configurable
        def __init__(self, *, size: int, name: str = "a") -> None:
            self.size, self.name = size, name

        @classmethod
        def from_config(cls, cfg: object, size: int = 1) -> dict[str, object]:
            return {"size": size * 10, "name": "config"}

    cfg = get_cfg()
    plain, built, given, replaced = (
        Thing(size=3),
        Thing(cfg),
        Thing(cfg, size=2),
        Thing(cfg=cfg, name="own"),
    )
    assert [(t.size, t.name) for t in (plain, built, given, replaced)] == [
        (3, "a"),
        (10, "config"),
        (20, "config"),
        (10, "own"),
    ]


def test_a_weight_file_is_looked_for_from_here_and_then_beside_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("configs/sub", "models", "elsewhere/models"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "models/a.pth").touch()
    (tmp_path / "configs/base.yaml").write_text("MODEL: {WEIGHTS: ../models/a.pth}\n")
    (tmp_path / "configs/sub/leaf.yaml").write_text("_BASE_: ../base.yaml\n")
    leaf, file = tmp_path / "configs/sub/leaf.yaml", tmp_path / "models/a.pth"
    monkeypatch.chdir(tmp_path / "elsewhere/models")
    assert str(file) == load_cfg(leaf).MODEL.WEIGHTS
    assert load_cfg(leaf, ["MODEL.WEIGHTS", "../models/b.pth"]).MODEL.WEIGHTS == "../models/b.pth"
    monkeypatch.chdir(tmp_path)
    assert load_cfg(leaf).MODEL.WEIGHTS == "models/a.pth"
    monkeypatch.chdir(tmp_path / "configs")
    assert load_cfg("sub/leaf.yaml").MODEL.WEIGHTS == "../models/a.pth"  # as Detectron2 has it
    file.unlink()
    assert load_cfg("sub/leaf.yaml").MODEL.WEIGHTS == "../models/a.pth"
    assert load_cfg("sub/leaf.yaml").MODEL.CLIP.PRETRAINED == "openai"


def test_a_key_of_detectron2_is_named_as_such_where_it_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "detectron2_config", lambda: None)
    (tmp_path / "theirs.yaml").write_text("MODEL: {RPN: {NMS_THRESH: 0.5}}\n")
    told = "of Detectron2 that ClipMask does not read"
    with pytest.raises(UserError, match=rf"{told}.*MODEL\.RPN\.NMS_THRESH"):
        load_cfg(tmp_path / "theirs.yaml")
    for key in ("MODEL.RESNETS.DEPTH", "TEST.DETECTIONS_PER_IMAGE", "FLOAT32_PRECISION"):
        with pytest.raises(UserError, match=f"{key} is a key {told}"):
            load_cfg(ROOT / "configs" / "toy.yaml", [key, "7"])


def test_keys_of_detectron2_at_its_defaults_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a whole config of Detectron2's, in which detectors are at their defaults, is read."""
    monkeypatch.setattr(config, "detectron2_config", lambda: None)
    content = get_cfg()
    for key, default in UNREAD.items():
        put_leaf(content, key, default)
    (tmp_path / "theirs.yaml").write_text(content.dump())
    assert load_cfg(tmp_path / "theirs.yaml") == get_cfg()


def test_a_whole_config_from_before_a_key_means_what_it_meant(tmp_path: Path) -> None:
    cfg = load_cfg(ROOT / "configs" / "toy.yaml")
    for section, key in [
        ("SOLVER", "LR_SCHEDULER_NAME"),
        ("SOLVER.CLIP_GRADIENTS", "CLIP_TYPE"),
        ("INPUT", "MIN_SIZE_TRAIN"),
    ]:
        node = cfg.SOLVER.CLIP_GRADIENTS if "." in section else cfg[section]
        del node[key]
    (tmp_path / "config.yaml").write_text(cfg.dump())
    for loaded in (load_cfg(tmp_path / "config.yaml"), stored_cfg(cfg.dump(), "model.pth")):
        assert loaded.SOLVER.LR_SCHEDULER_NAME == "WarmupPolyLR"
        assert loaded.SOLVER.CLIP_GRADIENTS.CLIP_TYPE == "full_model"
        assert loaded.INPUT.MIN_SIZE_TRAIN == (0,)


def test_another_version_is_refused() -> None:
    cfg = load_cfg(ROOT / "configs" / "toy.yaml", ["VERSION", "1"])
    with pytest.raises(UserError, match="VERSION 1"):
        check_config(cfg)


@needs_detectron2
@pytest.mark.contract
def test_unread_keys_are_detectron2s_with_its_defaults() -> None:
    from detectron2.config import get_cfg as detectron2_cfg

    theirs, ours = leaf_keys(detectron2_cfg()), leaf_keys(own_cfg())
    assert {key: default for key, default in theirs.items() if key not in ours} == UNREAD
    assert all(why_unread(key) for key in UNREAD)
