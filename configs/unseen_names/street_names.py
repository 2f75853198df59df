"""IDD-Lite by its coarse names alone, and CamVid by the names that it and LabelMeFacade have.

    idd_lite_coarse_train        IDD-Lite without members: no image says that a vehicle is a car
    camvid_trained_names         CamVid's train and val with the names that were trained: a table of
                                 synonyms written by hand, as a ceiling for what text can find

A coarse name stands for the mean of the names in it, as CLIP's file has no row for phrases such as
"living things". The ceiling has eight classes: pole, sign and fence are one there, and pedestrian
and bicyclist another, because one trained name stands for all of them.
"""

from __future__ import annotations

import functools

from clipmask.d2 import DatasetCatalog, MetadataCatalog

MEANS = {
    "drivable": "road",
    "non-drivable": "sidewalk;terrain",
    "living things": "pedestrian;rider",
    "vehicles": "car;truck;bus;motorcycle;bicycle",
    "roadside objects": "pole;sign;fence;wall;traffic light",
    "far objects": "building;tree",
    "sky": "sky",
}
BY_HAND = {
    "sky": "sky",
    "building": "building",
    "pole": "roadside objects",
    "road": "road",
    "sidewalk": "pavement",
    "tree": "vegetation",
    "sign": "roadside objects",
    "fence": "roadside objects",
    "car": "car",
    "pedestrian": "living things",
    "bicyclist": "living things",
}

known = MetadataCatalog.get("idd_lite_train")
DatasetCatalog.register(
    "idd_lite_coarse_train", functools.partial(DatasetCatalog.get, "idd_lite_train")
)
MetadataCatalog.get("idd_lite_coarse_train").set(
    stuff_classes=[MEANS[name] for name in known.stuff_classes],
    class_aliases=known.class_aliases,
    ignore_label=known.ignore_label,
    evaluator_type="sem_seg",
)

source = MetadataCatalog.get("camvid_sem_seg_trainval")
names = list(dict.fromkeys(BY_HAND.values()))
DatasetCatalog.register(
    "camvid_trained_names", functools.partial(DatasetCatalog.get, "camvid_sem_seg_trainval")
)
MetadataCatalog.get("camvid_trained_names").set(
    stuff_classes=[MEANS.get(name, name) for name in names],
    class_aliases=known.class_aliases,
    ignore_label=255,
    label_mapping={
        place: names.index(BY_HAND[name.split(";")[0]])
        for place, name in enumerate(source.stuff_classes)
    },
    evaluator_type="sem_seg",
)
