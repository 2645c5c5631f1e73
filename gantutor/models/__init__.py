"""Networks. `MODELS` maps a name to a function that builds a pair: G takes z (B, z_dim), D returns logits (B, 1).

`unet` and `resnet` build networks from image to image, and `patchgan` their discriminator: logits (B, 1, h, w).
"""

from collections.abc import Callable

from torch import nn

from gantutor.models.gans import dcgan, dcgan_init, mlp_classic, mlp_points
from gantutor.models.layers import NORMS_D, NORMS_G, REFERENCE_NORMS, VirtualBatchNorm, virtual_batchnorm
from gantutor.models.patchgan import N_LAYERS, measured_field, output_side, patchgan, receptive_field
from gantutor.models.reference import load_reference_state_dict
from gantutor.models.resnet import resnet, resnet_9
from gantutor.models.unet import unet

MODELS: dict[str, Callable[..., tuple[nn.Sequential, nn.Sequential]]] = {
    "points": mlp_points,
    "classic": mlp_classic,
    "dcgan": dcgan,
}
