"""Interface of sources of pseudo images, and the functions that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainables.compute.devices import send
from trainables.config.data_free.config import DataFreeConfig
from trainables.networks.generator import Generator
from trainables.seeding import seeded
from trainables.training.data_free.views import Viewer

ADAM_BETA2 = 0.999
"""Decay of the second moment of every source's Adam, as published, except for learnt pixels, whose authors have 0.99."""


@dataclass(frozen=True, kw_only=True)
class SourceSetup:
    """Arguments of a source."""

    config: DataFreeConfig
    viewer: Viewer
    """Normalises pixels as the teacher expects."""
    seed: int
    """Seed of the source's weights."""
    stream: torch.Generator
    """Random stream for latents, on the CPU, so that latents are equal on every device."""
    autocast: Callable[[], torch.autocast]
    """Function that returns a context manager in which networks compute in the trial's precision."""
    device: torch.device
    dtype: torch.dtype


class Source(ABC):
    """Source of pseudo images, which learns to make images of low loss.

    One call of the source serves one pseudo batch. It begins with ``begin``; then, ``generator_steps`` times, the loss is
    computed on ``images`` and ``update`` takes a step; ``updated_images`` returns the result; ``end`` ends the call.
    ``state_dict`` may be called between any two of these methods.
    """

    passes_of_update: ClassVar[float] = 3
    """Work of an update for each image, in forward passes of a generator. 0 means that there is no generator."""

    has_latents: ClassVar[bool] = True
    """Whether the source can make further images in the same call, from other latents."""

    passes_of_images: ClassVar[float] = 1
    """Work of ``updated_images`` for each image, in forward passes of a generator."""

    def __init__(self, setup: SourceSetup) -> None:
        """Build the source in its initial state."""
        self.setup = setup

    @abstractmethod
    def begin(self, wanted: Tensor) -> None:
        """Begin a call of the source.

        Args:
            wanted: Class drawn for each image, (images,).
        """

    @abstractmethod
    def images(self) -> Tensor:
        """Return the call's current images, normalised: (images, channels, height, width), with gradients."""

    @abstractmethod
    def update(self, rate: float) -> Tensor:
        """Take a step down the gradients that a backward pass has computed, and clear the gradients.

        Args:
            rate: Learning rate.

        Returns:
            The gradients' L2 norm before clipping, a scalar.
        """

    @abstractmethod
    def updated_images(self) -> Tensor:
        """Return the call's images after its updates, without gradients."""

    def end(self) -> None:  # noqa: B027  # most sources have nothing to clear
        """End a call of the source, whose images are not needed again."""

    def further_images(self, wanted: Tensor, count: int) -> Tensor:
        """Return images of fresh latents, normalised, without gradients.

        Args:
            wanted: Class drawn for each image, (count,).
            count: Number of images.

        Raises:
            ValueError: the source has no latents.
        """
        raise ValueError(f"{type(self).__name__} has no latents to draw from")

    @abstractmethod
    def shown(self, count: int, stream: torch.Generator) -> Tensor:
        """Return images for a snapshot, normalised, (at most count, channels, height, width); the source stays unchanged.

        Args:
            count: Largest number of images.
            stream: Random stream for latents, the same for each snapshot.
        """

    @abstractmethod
    def trained(self) -> list[nn.Module]:
        """Return the trained networks, whose weights and statistics are checked to be finite."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return everything that later images depend on."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""

    def draw(self, *shape: int) -> Tensor:
        """Draw standard normal numbers from the source's stream, on the trial's device."""
        setup = self.setup
        return send(torch.randn(shape, generator=setup.stream, dtype=setup.dtype), setup.device)

    def adam(self, parameters: Iterable[Tensor] | Iterable[dict[str, Any]], rate: float) -> torch.optim.Adam:
        """Return an Adam optimizer with the source's decays."""
        return torch.optim.Adam(parameters, lr=rate, betas=(self.setup.config.generator_beta1, ADAM_BETA2))

    def clipped(self, parameters: Iterable[Tensor]) -> Tensor:
        """Clip gradients to the trial's ``gradient_clip_norm`` and return their norm before clipping, a scalar."""
        limit = self.setup.config.gradient_clip_norm
        return nn.utils.clip_grad_norm_(parameters, float("inf") if limit is None else limit)


def make_generator(setup: SourceSetup) -> Generator:
    """Return the generator that the config describes, with its initial weights."""
    config, spec = setup.config, setup.config.spec
    with seeded(setup.seed, "generator"):
        generator = Generator(
            latent_dim=config.generator_input,
            width=config.generator_width,
            channels=spec.channels,
            image_size=spec.image_size,
            output=config.generator_output,
        )
    generator = generator.to(setup.device, setup.dtype).train()
    if config.numerics == "fast":
        generator.fused_upsampling = True
        generator.to(memory_format=torch.channels_last)
    return generator


def generated(setup: SourceSetup, generator: Generator, latents: Tensor, wanted: Tensor) -> Tensor:
    """Return a generator's normalised images of latents (images, latent_dim) and wanted classes (images,)."""
    config = setup.config
    if config.class_conditional:
        # With a mean square of 1, as the latents have.
        classes = nn.functional.one_hot(wanted, config.spec.num_classes).to(latents) * config.spec.num_classes**0.5
        latents = torch.cat([latents, classes], 1)
    with setup.autocast():
        made = generator(latents)
    made = made.to(setup.dtype)
    return setup.viewer.normalised(made) if config.generator_output == "sigmoid" else made
