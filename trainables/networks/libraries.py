"""Networks of torchvision and timm, by the names in these libraries, with fresh weights."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from torch import nn

from trainables.config.datasets import ImageSize
from trainables.errors import NetworkError

_AUXILIARY = {"googlenet", "inception_v3"}
"""Networks of torchvision that by default also return the logits of auxiliary classifiers."""


def torchvision_network(name: str, *, num_classes: int, channels: int, image_size: ImageSize) -> nn.Module:
    """Build a classifier of ``torchvision.models``.

    Raises:
        NetworkError: torchvision has no classifier with that name, or the images do not have 3 channels, as its networks
            require.
    """
    # Imported here, since torchvision takes a second to load and few networks need it.
    from torchvision import models

    if name not in models.list_models(module=models):
        raise NetworkError(
            f"torchvision has no classifier {name!r}; torchvision.models.list_models() names those it has"
        )
    if channels != 3:
        raise NetworkError(
            f"torchvision:{name} takes images of 3 channels and these have {channels}; timm:NAME builds networks for any "
            "number of channels"
        )
    switches = {"aux_logits": False, "init_weights": True} if name in _AUXILIARY else {}
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **switches)
    return network


def timm_network(name: str, *, num_classes: int, channels: int, image_size: ImageSize) -> nn.Module:
    """Build a classifier of timm.

    Raises:
        NetworkError: timm is not installed, or has no network with that name.
    """
    if find_spec("timm") is None:
        raise NetworkError(f"timm:{name} needs the package timm: pip install 'zskt[timm]'")
    # Imported here, since timm takes two seconds to load and few networks need it.
    import timm

    if not timm.is_model(name):
        raise NetworkError(f"timm has no network {name!r}; timm.list_models() names those it has")
    defaults = timm.get_pretrained_cfg(name)
    arguments: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels}
    # Networks of patches are built for one image size; others take any size.
    if defaults is not None and defaults.fixed_input_size:
        arguments["img_size"] = image_size
    network: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    return network
