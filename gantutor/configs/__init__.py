"""What to train, by name: a config decides everything in a run. Each kind of model has its own."""

from gantutor.configs.base import Config
from gantutor.configs.gan_config import GANConfig, GANData, NCritic
from gantutor.configs.translation_configs import CycleGANConfig, Pix2PixConfig
