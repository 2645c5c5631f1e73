"""Scores of what a generator makes."""

from gantutor.metrics.colour import flat_areas, hue_shift, shading
from gantutor.metrics.judge import Judge, classes_covered, frechet_distance, train_judge
from gantutor.metrics.modes import modes_covered
from gantutor.metrics.probe import auc, probe_auc
from gantutor.metrics.seeds import SeedRow, run_failed, seed_rows, select, sign_test
from gantutor.metrics.segmentation import SegmentationScore, Segmenter, segmentation_score, train_segmenter
from gantutor.metrics.similarity import l1, saturation, sharpness, ssim

__all__ = [
    "Judge",
    "SeedRow",
    "SegmentationScore",
    "Segmenter",
    "auc",
    "classes_covered",
    "flat_areas",
    "frechet_distance",
    "hue_shift",
    "l1",
    "modes_covered",
    "probe_auc",
    "run_failed",
    "saturation",
    "seed_rows",
    "segmentation_score",
    "select",
    "shading",
    "sharpness",
    "sign_test",
    "ssim",
    "train_judge",
    "train_segmenter",
]
