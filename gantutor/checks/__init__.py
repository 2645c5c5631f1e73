"""Verdicts on exercises and predictions: they judge what an answer does, never how it is written.

A file for each notebook, and `verdict` for what they share.
"""

from gantutor.checks.batchnorm_batching import dependence, one_view, safe_score
from gantutor.checks.cyclegan import cycle_loss, pool_exchange, reaches, reference_names
from gantutor.checks.detach_or_retain_graph import k_steps, ledger, mend_d_first, mend_g_first, mend_simultaneous
from gantutor.checks.gan_objective import g_loss, jsd_from_d_loss, keras_batchnorm, optimal_D
from gantutor.checks.pix2pix import paper_test_time, pix2pix_g_loss, receptive_field
from gantutor.checks.scale_up import averaged, limit
from gantutor.checks.small_run import SmallRun, resumed
from gantutor.checks.start_here import image_range, who_moves
from gantutor.checks.verdict import NOT_YET, Verdict, expect_error, prediction

__all__ = [
    "NOT_YET",
    "SmallRun",
    "Verdict",
    "averaged",
    "cycle_loss",
    "dependence",
    "expect_error",
    "g_loss",
    "image_range",
    "jsd_from_d_loss",
    "k_steps",
    "keras_batchnorm",
    "ledger",
    "limit",
    "mend_d_first",
    "mend_g_first",
    "mend_simultaneous",
    "one_view",
    "optimal_D",
    "paper_test_time",
    "pix2pix_g_loss",
    "pool_exchange",
    "prediction",
    "reaches",
    "receptive_field",
    "reference_names",
    "resumed",
    "safe_score",
    "who_moves",
]
