"""Networks. `MODELS` maps a name to a function that builds a pair: G takes z (B, z_dim), D returns logits (B, 1).

`GENERATORS` builds networks from image to image, and `patchgan` their discriminator: logits (B, 1, h, w).
"""

from collections.abc import Callable

from torch import nn

from gantutor.models.dcgan import dcgan, dcgan_init
from gantutor.models.mlp import mlp_classic, mlp_points
from gantutor.models.norms import NORMS_D, NORMS_G
from gantutor.models.patchgan import N_LAYERS, patchgan
from gantutor.models.receptive_field import measured_field, output_side, receptive_field
from gantutor.models.reference import load_reference_state_dict
from gantutor.models.resnet import resnet, resnet_6, resnet_9
from gantutor.models.unet import encoder_decoder, unet, unet_64, unet_128, unet_256

MODELS: dict[str, Callable[..., tuple[nn.Sequential, nn.Sequential]]] = {
    "points": mlp_points,
    "classic": mlp_classic,
    "dcgan": dcgan,
}

GENERATORS: dict[str, Callable[..., nn.Module]] = {
    "unet_64": unet_64,
    "unet_128": unet_128,
    "unet_256": unet_256,
    "encoder_decoder": encoder_decoder,
    "resnet_6": resnet_6,
    "resnet_9": resnet_9,
}

__all__ = [
    "GENERATORS",
    "MODELS",
    "NORMS_D",
    "NORMS_G",
    "N_LAYERS",
    "dcgan",
    "dcgan_init",
    "encoder_decoder",
    "load_reference_state_dict",
    "measured_field",
    "mlp_classic",
    "mlp_points",
    "output_side",
    "patchgan",
    "receptive_field",
    "resnet",
    "resnet_6",
    "resnet_9",
    "unet",
    "unet_64",
    "unet_128",
    "unet_256",
]
