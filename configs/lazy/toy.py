"""``configs/toy.yaml`` as a LazyConfig of Detectron2, for its ``tools/lazyconfig_train_net.py``.

Model, mappers and evaluator are ClipMask's; loaders, sampler and loop are Detectron2's.
"""

import torch
from detectron2.config import LazyCall as L
from detectron2.data import (
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import PolynomialDecayParamScheduler

from clipmask import ClipMask
from clipmask.backbones.timm_backbone import TimmBackbone
from clipmask.data import LabelFormat, TestMapper, TrainMapper
from clipmask.data.toy.objects import CLASSES
from clipmask.data.transforms import ScaledCrop, TrainTransform
from clipmask.engine.evaluation import build_evaluator
from clipmask.engine.optimizer import BACKBONE, parameter_groups
from clipmask.losses.criterion import Criterion
from clipmask.losses.mask_losses import BinaryCrossEntropy, Dice
from clipmask.modeling.mask_decoder import CosineClassifier, MaskDecoder
from clipmask.modeling.pixel_decoder import PixelDecoder
from clipmask.modeling.text_embedding import TextEmbedding
from clipmask.text.sources import RandomSource

names = list(CLASSES)
width, text_width = 64, 512
strides = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
scales = ["res3", "res4", "res5"]  # r1, r2, r3

model = L(ClipMask)(
    backbone=L(TimmBackbone)(name="resnet10t", weights="random"),
    # embeddings of a file: open_source=lambda: FileSource("mine.npz")
    text=L(TextEmbedding)(open_source=RandomSource, terms=names),
    vocabularies=[names],
    pixel_decoder=L(PixelDecoder)(
        channels={"res2": 64, "res3": 128, "res4": 256, "res5": 512},
        strides=strides,
        scales=scales,
        dim=width,
        mask_dim=width,
        text_dim=text_width,
        num_heads=4,
        max_image_keys=64,
    ),
    mask_decoder=L(MaskDecoder)(
        dim=width,
        mask_dim=width,
        text_dim=text_width,
        num_queries=20,
        num_layers=3,
        num_scales=len(scales),
        num_heads=4,
        ffn_dim=256,
        dropout=0.0,
        classifier=L(CosineClassifier)(dim=width, text_dim=text_width),
        text_queries=True,
    ),
    criterion=L(Criterion)(
        ignore_label=255,
        class_weight=2.0,
        mask_losses=[L(BinaryCrossEntropy)(weight=5.0), L(Dice)(weight=5.0)],
        no_object_weight=0.1,
    ),
    pixel_mean=[123.675, 116.28, 103.53],
    pixel_std=[58.395, 57.12, 57.375],
)

dataloader = dict(
    train=L(build_detection_train_loader)(
        dataset=L(get_detection_dataset_dicts)(
            names="toy_street_sem_seg_train", filter_empty=False
        ),
        mapper=L(TrainMapper)(
            transform=L(TrainTransform)(
                scale_range=[1.0, 1.7],
                crop=L(ScaledCrop)(kind="absolute", size=[224, 288], single_category_max_area=0.75),
                flip="horizontal",
                color_aug=True,
            ),
            label_format=L(LabelFormat)(num_classes=len(names)),
            format="RGB",
        ),
        total_batch_size=4,
        aspect_ratio_grouping=False,
        num_workers=2,
    ),
    test=L(build_detection_test_loader)(
        dataset=L(get_detection_dataset_dicts)(names="toy_street_sem_seg_val", filter_empty=False),
        mapper=L(TestMapper)(min_size=288, max_size=1333, format="RGB"),
        num_workers=2,
    ),
    evaluator=L(build_evaluator)(
        name="toy_street_sem_seg_val", output="${...train.output_dir}/inference"
    ),
)

optimizer = L(torch.optim.AdamW)(
    # the script puts the model in; norms, biases and embeddings are not decayed
    params=L(parameter_groups)(
        base_lr="${..lr}", multipliers={BACKBONE: 1.0}, weight_decay="${..weight_decay}"
    ),
    lr=0.001,
    weight_decay=0.05,
)

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(PolynomialDecayParamScheduler)(base_value=1.0, power=0.9),
    warmup_factor=0.01,
    warmup_length=40 / 650,
)

train = dict(
    output_dir="output/lazy",
    init_checkpoint="",
    max_iter=650,
    amp=dict(enabled=False),
    ddp=dict(broadcast_buffers=False),
    checkpointer=dict(period=200, max_to_keep=100),
    eval_period=650,
    log_period=20,
    device="cuda",
    seed=0,
)
