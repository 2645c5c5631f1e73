"""Scores of what a generator makes."""

from gantutor.metrics.judge import Judge, classes_covered, frechet_distance, js_divergence, modes_covered, train_judge
from gantutor.metrics.seeds import SeedRow, run_failed, seed_rows, select, sign_test
from gantutor.metrics.similarity import flat_areas, hue_shift, l1, saturation, shading, sharpness
