"""Verdicts on exercises and predictions: they judge what an answer does, never how it is written.

A file for each notebook, and `result` for what they share.
"""

from gantutor.checks.batchnorm_batching import dependence, one_view, safe_score, share_of_reals
from gantutor.checks.cyclegan_exercises import pool_exchange, reaches, reference_log
from gantutor.checks.detach_or_retain_graph import both_at_once, k_steps, ledger, two_updates_of_G
from gantutor.checks.gan_objective import keras_batchnorm, kl_loss, optimal_D
from gantutor.checks.pix2pix_exercises import balancing_lambda, field_of_layers, paper_test_time
from gantutor.checks.result import NOT_YET, Answer, CheckResult, Prediction, expect_error, predict
from gantutor.checks.scale_up import SmallRun, averaged, limit, resumed
from gantutor.checks.start_here import image_range, who_moves
