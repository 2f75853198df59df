"""The whole model: interface, gradients, sizes, padding, vocabularies, config errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode

from clipmask import ClipMask, build_model
from clipmask.d2 import MetadataCatalog
from clipmask.errors import UserError
from clipmask.text.sources import ClipSource, average
from clipmask.vocabulary import Vocabulary
from tests.closeness import assert_best, assert_same
from tests.conftest import NAMES
from tests.terms import terms

Inputs = list[dict[str, Any]]


def test_every_trainable_weight_gets_a_gradient(
    small_model: ClipMask, make_inputs: Callable[..., Inputs]
) -> None:
    losses = small_model.train()(make_inputs((64, 96), (64, 96)))
    assert isinstance(losses, dict)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert [name for name, p in small_model.named_parameters() if p.grad is None] == []
    # timm starts each residual branch at zero, which holds back the gradient inside it for one
    # step.
    ours = [
        (name, p.grad)
        for name, p in small_model.named_parameters()
        if not name.startswith("backbone.")
    ]
    assert [name for name, gradient in ours if not (gradient != 0).any()] == []  # type: ignore[union-attr]


def test_scores_and_labels_at_the_asked_size(
    small_model: ClipMask, make_inputs: Callable[..., Inputs]
) -> None:
    inputs = make_inputs((61, 47), (64, 96))
    inputs[1] |= {"height": 120, "width": 33}
    with torch.no_grad():
        scores = [output["sem_seg"] for output in small_model(inputs)]  # type: ignore[index]
    labels = small_model.predict_labels(inputs)
    assert [tuple(score.shape) for score in scores] == [(5, 61, 47), (5, 120, 33)]
    for score, label in zip(scores, labels, strict=True):
        assert_best(label, score)


@torch.no_grad()
def test_batch_equals_single(small_model: ClipMask, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs((64, 96), (64, 96), (64, 96))
    together = small_model(inputs)
    for index, image in enumerate(inputs):
        torch.testing.assert_close(
            together[index]["sem_seg"], small_model([image])[0]["sem_seg"], rtol=1e-4, atol=1e-5
        )


@torch.no_grad()
def test_float_and_uint8_images_are_one(
    small_model: ClipMask, make_inputs: Callable[..., Inputs]
) -> None:
    inputs = make_inputs((64, 64))
    as_float = [{**inputs[0], "image": inputs[0]["image"].float()}]
    assert_same(small_model(inputs)[0]["sem_seg"], small_model(as_float)[0]["sem_seg"])


def test_normalizer_scales_the_losses(
    small_model: ClipMask, make_inputs: Callable[..., Inputs]
) -> None:
    inputs = make_inputs((64, 64), (64, 64))
    small_model.train()
    small_model.backbone.eval()
    own = small_model(inputs)
    counts = small_model.count_targets(inputs)
    twice = small_model(inputs, counts * 2)
    assert counts[1] == 2
    for name, value in own.items():  # type: ignore[union-attr]
        torch.testing.assert_close(twice[name] * 2, value)  # type: ignore[call-overload]


@torch.no_grad()
def test_another_vocabulary(small_model: ClipMask, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs((64, 64))
    before = small_model(inputs)[0]["sem_seg"]
    small_model.set_vocabulary(["zebra crossing", "road", "car;automobile"])
    assert small_model(inputs)[0]["sem_seg"].shape == (3, 64, 64)
    assert small_model.class_names == ("zebra crossing", "road", "car;automobile")
    small_model.set_vocabulary(NAMES)
    torch.testing.assert_close(small_model(inputs)[0]["sem_seg"], before)


@torch.no_grad()
def test_permuting_class_names_permutes_scores(
    small_cfg: CfgNode, make_inputs: Callable[..., Inputs]
) -> None:
    # queries that start from text are tied to an order
    small_cfg.MODEL.CLIPMASK.TEXT_QUERIES = False
    model, inputs = build_model(small_cfg, NAMES).eval(), make_inputs((64, 64))
    before = model(inputs)[0]["sem_seg"]
    order = [3, 1, 0, 4, 2]
    model.set_vocabulary([NAMES[index] for index in order])
    torch.testing.assert_close(model(inputs)[0]["sem_seg"], before[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("names", [[], ["road", "road"], ["road", " "]])
def test_vocabularies_that_are_none(small_model: ClipMask, names: list[str]) -> None:
    with pytest.raises(UserError, match="class name|different names"):
        small_model.set_vocabulary(names)


def test_a_linear_classifier_keeps_its_classes(small_cfg: CfgNode) -> None:
    small_cfg.MODEL.CLIPMASK.CLASSIFIER = "linear"
    with pytest.raises(UserError, match="classes are fixed"):
        build_model(small_cfg, NAMES).set_vocabulary(["zebra"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("INJECTION", "channel", "tokens or channels or none"),
        ("FUSION", "all", "both or joint or pairwise"),
        ("CLASSIFIER", "dot", "cosine or linear"),
        ("SCALES", ["res5", "res4"], "in this order"),
        ("SCALES", [], "in this order"),
        ("HIDDEN_DIM", 30, "divisible"),
        ("NUM_QUERIES", 0, "at least 1"),
        ("NUM_HEADS", 0, "at least 1"),
        ("MAX_IMAGE_KEYS", -5, "at least 0"),
        ("DROPOUT", 1.5, "below 1"),
        ("MASK_DIM", 30, "divisible by 4"),
        ("LOSS_STRIDE", 3, "4 or 2 or 1"),
    ],
)
def test_values_out_of_range(small_cfg: CfgNode, key: str, value: Any, message: str) -> None:
    small_cfg.MODEL.CLIPMASK[key] = value
    with pytest.raises(UserError, match=message):
        build_model(small_cfg, NAMES)


@pytest.mark.parametrize(
    "changes",
    [
        {"HIDDEN_DIM": 24, "NUM_HEADS": 6},
        {"LOSS_STRIDE": 2},
        {"INJECTION": "none", "CLASSIFIER": "linear", "TEXT_QUERIES": False},
        {"SCALES": ["res4"]},
        {"SCALES": ["res3", "res5"]},
        {"FUSION": "joint"},
        {"FUSION": "pairwise"},
        {"MAX_IMAGE_KEYS": 0, "DICE_WEIGHT": 0.0},
    ],
)
def test_ablations_train_every_weight(
    small_cfg: CfgNode, make_inputs: Callable[..., Inputs], changes: dict[str, Any]
) -> None:
    for key, value in changes.items():
        small_cfg.MODEL.CLIPMASK[key] = value
    model = build_model(small_cfg, NAMES).train()
    losses = model(make_inputs((64, 64), (64, 64)))
    sum(losses.values()).backward()  # type: ignore[union-attr, arg-type]
    # Data-parallel training waits for every gradient: none may be missing, the backbone's included.
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_unknown_architecture(small_cfg: CfgNode) -> None:
    small_cfg.MODEL.META_ARCHITECTURE = "MaskClip"
    with pytest.raises(UserError, match="MaskClip"):
        build_model(small_cfg, NAMES)


def test_no_class_names(small_cfg: CfgNode) -> None:
    small_cfg.DATASETS.TRAIN, small_cfg.DATASETS.TEST = (), ()
    with pytest.raises(UserError, match="stuff_classes"):
        build_model(small_cfg)


def annotated(cfg: CfgNode, injection: str = "tokens") -> ClipMask:
    cfg.MODEL.CLIP.TEXT, cfg.MODEL.CLIPMASK.INJECTION = "annotation", injection
    return build_model(cfg, NAMES).eval()


TEXTS: list[dict[str, Any]] = [{"text": ["wet road", "night"]}, {}, {"text": "a dog"}]


def with_texts(inputs: Inputs, texts: Inputs = TEXTS) -> Inputs:
    return [{**image, **text} for image, text in zip(inputs, texts, strict=True)]


@torch.no_grad()
def test_texts_of_images_play_no_part_in_vocabulary_mode(
    small_model: ClipMask, make_inputs: Callable[..., Inputs]
) -> None:
    inputs = make_inputs((64, 96), (64, 96), (64, 96))
    for plain, text in zip(small_model(inputs), small_model(with_texts(inputs)), strict=True):
        assert_same(plain["sem_seg"], text["sem_seg"])


@pytest.mark.parametrize("injection", ["tokens", "channels"])
@torch.no_grad()
def test_texts_change_their_own_image_alone(
    small_cfg: CfgNode, make_inputs: Callable[..., Inputs], injection: str
) -> None:
    model, inputs = annotated(small_cfg, injection), make_inputs((64, 96), (64, 96), (64, 96))
    plain, text = model(inputs), model(with_texts(inputs))
    differs = [not torch.allclose(one["sem_seg"], other["sem_seg"], atol=1e-5)
               for one, other in zip(plain, text, strict=True)]  # fmt: skip
    assert differs == [True, False, True]
    # Neither the length of a neighbour's text nor the order of one's own matters.
    longer = with_texts(
        inputs, [{"text": ["night", "wet road"]}, {}, {"text": [f"word {i}" for i in range(40)]}]
    )
    for index in (0, 1):
        torch.testing.assert_close(
            model(longer)[index]["sem_seg"], text[index]["sem_seg"], rtol=1e-4, atol=1e-5
        )
    for index, image in enumerate(with_texts(inputs)):
        torch.testing.assert_close(
            model([image])[0]["sem_seg"], text[index]["sem_seg"], rtol=1e-4, atol=1e-5
        )


@torch.no_grad()
def test_an_image_without_text_is_segmented_as_in_vocabulary_mode(
    small_cfg: CfgNode, small_model: ClipMask, make_inputs: Callable[..., Inputs]
) -> None:
    model, inputs = annotated(small_cfg), make_inputs((64, 96), (64, 96), (64, 96))
    expected = small_model(inputs)
    model.load_state_dict(small_model.state_dict())
    assert_same(model(inputs)[0]["sem_seg"], expected[0]["sem_seg"])
    beside_text = model(with_texts(inputs))[1]["sem_seg"]
    torch.testing.assert_close(beside_text, expected[1]["sem_seg"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("injection", ["tokens", "channels"])
@pytest.mark.parametrize("texts", [TEXTS, [{}, {}, {}]])
def test_annotation_trains_every_weight(
    small_cfg: CfgNode, make_inputs: Callable[..., Inputs], injection: str, texts: Inputs
) -> None:
    model = annotated(small_cfg, injection).train()
    losses = model(with_texts(make_inputs((64, 64), (64, 64), (64, 96)), texts))
    sum(losses.values()).backward()  # type: ignore[union-attr, arg-type]
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.fixture
def tower_cfg(small_cfg: CfgNode, tiny_clip: Path) -> CfgNode:
    clip = small_cfg.MODEL.CLIP
    clip.NAME, clip.PRETRAINED, clip.EMBEDDINGS, clip.PROMPTS = (
        "tiny-clip",
        str(tiny_clip),
        "",
        ["single"],
    )
    clip.CONTEXT_LENGTH = 4
    return small_cfg


@pytest.mark.parametrize(
    "changes",
    [{"TOWER": "context"}, {"TOWER": "context", "CONTEXT_PER_CLASS": True}, {"TOWER": "full"}]
    + [{"TOWER": "full", "TEXT": "annotation"}, {"TOWER": "context", "TEXT": "annotation"}],
)
def test_a_learned_text_trains_and_segments_without_clip(
    tower_cfg: CfgNode, make_inputs: Callable[..., Inputs], tiny_clip: Path, changes: dict[str, Any]
) -> None:
    for key, value in changes.items():
        tower_cfg.MODEL.CLIP[key] = value
    model, inputs = build_model(tower_cfg, NAMES).train(), make_inputs((64, 64), (64, 64), (64, 64))
    losses = model(with_texts(inputs))
    sum(losses.values()).backward()  # type: ignore[union-attr, arg-type]
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    names = [name for name, _ in model.named_parameters() if name.startswith("text.")]
    if changes["TOWER"] == "context":
        assert names == ["text.learner.context"]
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).add_(0.1)
        expected = model.eval()(inputs)[0]["sem_seg"]
    tiny_clip.unlink()
    loaded = build_model(tower_cfg, NAMES, text_width=24).eval()
    loaded.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert_same(loaded(inputs)[0]["sem_seg"], expected)


@torch.no_grad()
def test_new_names_of_a_learned_text(
    tower_cfg: CfgNode, make_inputs: Callable[..., Inputs]
) -> None:
    for tower in ("context", "full"):
        tower_cfg.MODEL.CLIP.TOWER = tower
        model = build_model(tower_cfg, NAMES).eval()
        before = model(make_inputs((64, 64)))[0]["sem_seg"]
        model.set_vocabulary(["zebra crossing", "road"])
        assert model(make_inputs((64, 64)))[0]["sem_seg"].shape == (2, 64, 64)
        model.set_vocabulary(NAMES)
        torch.testing.assert_close(model(make_inputs((64, 64)))[0]["sem_seg"], before)
        with pytest.raises(UserError, match="learned its own"):
            model.set_vocabulary(Vocabulary.from_names(["zebra"], "random"))
    tower_cfg.MODEL.CLIP.TOWER, tower_cfg.MODEL.CLIP.CONTEXT_PER_CLASS = "context", True
    with pytest.raises(UserError, match="CONTEXT_PER_CLASS"):
        build_model(tower_cfg, NAMES).set_vocabulary(["zebra"])


@pytest.mark.parametrize(
    ("clip", "node", "message"),
    [
        ({"TEXT": "caption"}, {}, "vocabulary or annotation"),
        ({"TOWER": "tuned"}, {}, "frozen or context or full"),
        ({"TEXT_DROP": 1.0}, {}, "below 1"),
        ({}, {"INJECTION": "channels"}, "needs MODEL.CLIP.TEXT annotation.*no more than a bias"),
        ({"TEXT": "annotation"}, {"INJECTION": "none"}, "nothing would take the images' texts"),
        ({"TOWER": "full"}, {}, "EMBEDDINGS random stands in for"),
        (
            {"TOWER": "context", "EMBEDDINGS": "", "CONTEXT_LENGTH": 60},
            {},
            "CONTEXT_LENGTH 60: must be 1 to 38",
        ),
        (
            {"TOWER": "full", "EMBEDDINGS": ""},
            {"INJECTION": "none", "CLASSIFIER": "linear", "TEXT_QUERIES": False},
            "nothing would train them",
        ),
    ],
)
def test_settings_of_text_that_contradict_each_other(
    small_cfg: CfgNode, clip: dict[str, Any], node: dict[str, Any], message: str
) -> None:
    for section, changes in ((small_cfg.MODEL.CLIP, clip), (small_cfg.MODEL.CLIPMASK, node)):
        for key, value in changes.items():
            section[key] = value
    with pytest.raises(UserError, match=message):
        build_model(small_cfg, NAMES)


def test_classes_bring_their_own_prompts(small_cfg: CfgNode, tiny_clip: Path) -> None:
    """Those of the training set when the model is built, those of another vocabulary with it."""
    clip = small_cfg.MODEL.CLIP
    clip.NAME, clip.PRETRAINED, clip.EMBEDDINGS, clip.PROMPTS = (
        "tiny-clip",
        str(tiny_clip),
        "",
        ["a {}"],
    )
    small_cfg.DATASETS.TRAIN = ("own_prompts",)
    MetadataCatalog.get("own_prompts").set(
        stuff_classes=["road", "sky"], class_prompts={"road": ["the {}", "tar"]}
    )

    def rows(name: str, *prompts: str) -> torch.Tensor:
        return ClipSource("tiny-clip", str(tiny_clip), prompts).encode(terms([name]))[0]

    model = build_model(small_cfg)
    model.prepare()
    road = average(torch.stack([rows("road", "the {}"), rows("tar", "{}")]))
    torch.testing.assert_close(model.text.embedding[0], road)
    torch.testing.assert_close(model.text.embedding[1], rows("sky", "a {}"))
    metadata = {"stuff_classes": ["tree", "pole"], "class_prompts": {"pole": ["one {}"]}}
    found = model.text.select(model.text(), Vocabulary.from_metadata(metadata)) + model.text.mean
    torch.testing.assert_close(found, torch.stack([rows("tree", "a {}"), rows("pole", "one {}")]))


@pytest.mark.parametrize("name", ["GeneralizedRCNN", "SemanticSegmentor", "ClipMsk"])
def test_other_meta_architectures_are_refused_alike_with_and_without_detectron2(
    small_cfg: CfgNode, name: str
) -> None:
    small_cfg.MODEL.META_ARCHITECTURE = name
    with pytest.raises(UserError, match=f"{name}.*base.yaml sets ClipMask"):
        build_model(small_cfg, ("road", "sky"))


def test_a_model_can_be_pickled_whole(
    small_model: ClipMask, make_inputs: Callable[..., list[dict[str, Any]]]
) -> None:
    again = pickle.loads(pickle.dumps(small_model))
    inputs = make_inputs((64, 64))
    with torch.no_grad():
        assert torch.equal(again(inputs)[0]["sem_seg"], small_model(inputs)[0]["sem_seg"])


def test_training_without_labels_is_one_clear_error(small_model: ClipMask) -> None:
    inputs = [{"image": torch.zeros(3, 64, 64, dtype=torch.uint8), "file_name": "a.png"}]
    small_model.train()
    for use in (small_model, small_model.count_targets):
        with pytest.raises(UserError, match=r"a\.png.*no 'sem_seg'"):
            use(inputs)


def test_labels_with_other_ids_are_told(
    small_model: ClipMask, make_inputs: Callable[..., list[dict[str, Any]]]
) -> None:
    inputs = make_inputs((64, 64))
    inputs[0]["sem_seg"][0, 0] = len(small_model.class_names)
    with pytest.raises(UserError, match="neither a class"):
        small_model.train()(inputs)


def test_what_other_code_asks_of_a_model(small_cfg: CfgNode) -> None:
    small_cfg.merge_from_list(["INPUT.FORMAT", "BGR", "VIS_PERIOD", 7])
    model = build_model(small_cfg, NAMES)
    assert (model.input_format, model.vis_period) == ("BGR", 7)


@pytest.mark.filterwarnings("ignore")
def test_a_traced_model_refuses_images_of_another_size(small_model: ClipMask) -> None:
    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = small_model

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.model([{"image": image}])[0]["sem_seg"]

    image = torch.rand(3, 64, 96) * 255
    with torch.no_grad():
        traced = torch.jit.trace(Scores(), (torch.zeros(3, 64, 96),), check_trace=False)
        assert_same(traced(image), Scores()(image))
        for shape in ((3, 96, 64), (3, 96, 128)):
            with pytest.raises(RuntimeError, match="size"):
                traced(torch.zeros(shape))


@pytest.mark.slow
def test_compiled_without_a_break(small_cfg: CfgNode, make_inputs: Callable[..., Inputs]) -> None:
    """``eager`` traces as any backend does, and makes no code: an error where a graph would
    break.
    """
    small_cfg.MODEL.CLIPMASK.DEC_LAYERS = 2  # tracing takes long, and all layers are alike
    original = build_model(small_cfg, NAMES).eval()
    compiled = copy.deepcopy(original)
    compiled.compile_network(backend="eager")
    for sizes in (((64, 96),), ((64, 96), (61, 47))):
        inputs = make_inputs(*sizes)
        with torch.no_grad():
            pairs = zip(compiled(inputs), original(inputs), strict=True)
        for one, other in pairs:
            assert_same(one["sem_seg"], other["sem_seg"])
    inputs = make_inputs((64, 96), (64, 96))
    losses = compiled.train()(inputs)
    assert isinstance(losses, dict)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert [name for name, p in compiled.named_parameters() if p.grad is None] == []
    plain = pickle.loads(pickle.dumps(compiled)).eval()  # which is not compiled
    with torch.no_grad():
        assert_same(plain(inputs)[0]["sem_seg"], compiled.eval()(inputs)[0]["sem_seg"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits(
    small_model: ClipMask, make_inputs: Callable[..., Inputs], dtype: torch.dtype
) -> None:
    inputs = make_inputs((64, 96), (61, 47))
    half = copy.deepcopy(small_model).to(dtype)
    assert half.pixel_mean.dtype == torch.float32
    with torch.no_grad():
        for one, other in zip(half(inputs), small_model(inputs), strict=True):
            assert one["sem_seg"].dtype == torch.float32
            torch.testing.assert_close(one["sem_seg"], other["sem_seg"], rtol=0.1, atol=0.1)
        half.set_vocabulary(["sky", "road"])
        assert half(inputs)[0]["sem_seg"].shape == (2, 64, 96)
        again = half.float()(inputs)
    assert again[1]["sem_seg"].shape == (2, 61, 47)


def test_a_vocabulary_may_be_a_list_of_names(small_model: ClipMask) -> None:
    parts = ("backbone", "text", "pixel_decoder", "mask_decoder", "criterion")
    model = ClipMask(
        **{part: getattr(small_model, part) for part in parts},
        vocabularies=[["road", "car;automobile"]],
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
    )
    assert model.vocabularies == (Vocabulary.from_names(["road", "car;automobile"]),)
