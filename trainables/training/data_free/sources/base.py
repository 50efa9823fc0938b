"""What a source of pseudo images is."""

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
"""Decay of the second moment of every source's Adam, as published everywhere but for pixels (0.99 there)."""


@dataclass(frozen=True, kw_only=True)
class SourceSetup:
    """What a source is made with."""

    config: DataFreeConfig
    viewer: Viewer
    """Normalises pixels as the teacher expects them."""
    seed: int
    """Of the source's weights."""
    stream: torch.Generator
    """Of latents, on the CPU: the same on every device."""
    autocast: Callable[[], torch.autocast]
    """A block in which networks compute in the trial's precision."""
    device: torch.device
    dtype: torch.dtype


class Source(ABC):
    """Makes pseudo images.

    A call begins with ``begin``; then ``generator_steps`` times ``images`` are scored and ``update`` moves whatever makes
    them; ``updated_images`` are what it has come to. ``state_dict`` may be taken between any two of these.
    """

    passes_of_update: ClassVar[float] = 3
    """Forward passes of a generator that an update takes for each image; 0: there is no generator."""

    has_latents: ClassVar[bool] = True
    """Whether it can make further images in the same call, from other latents."""

    passes_of_images: ClassVar[float] = 1
    """Those that ``updated_images`` takes."""

    def __init__(self, setup: SourceSetup) -> None:
        """Make it as it is at a trial's beginning."""
        self.setup = setup

    @abstractmethod
    def begin(self, wanted: Tensor) -> None:
        """Begin a call.

        Args:
            wanted: Class drawn for each image, (images,).
        """

    @abstractmethod
    def images(self) -> Tensor:
        """Return the call's images as they are now, normalised: (images, channels, height, width), with gradients."""

    @abstractmethod
    def update(self, rate: float) -> Tensor:
        """Take a step down the gradients of the loss, which are there, and forget them.

        Args:
            rate: Learning rate.

        Returns:
            The gradients' L2 norm before clipping, a scalar.
        """

    @abstractmethod
    def updated_images(self) -> Tensor:
        """Return the call's images after its updates, without gradients."""

    def end(self) -> None:  # noqa: B027  # most sources have nothing to forget
        """End a call: nothing of it is asked for again."""

    def further_images(self, wanted: Tensor, count: int) -> Tensor:
        """Return images of fresh latents, without gradients; not asked of a source without latents.

        Args:
            wanted: Class drawn for each image, (count,).
            count: How many.
        """
        raise ValueError(f"{type(self).__name__} has no latents to draw from")

    @abstractmethod
    def shown(self, count: int, stream: torch.Generator) -> Tensor:
        """Return images to look at, without leaving a trace: (count, channels, height, width).

        Args:
            count: At most how many.
            stream: Of latents, the same at each look.
        """

    @abstractmethod
    def trained(self) -> list[nn.Module]:
        """Return the networks whose numbers must be finite."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return all that later images depend on."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""

    def draw(self, *shape: int) -> Tensor:
        """Draw standard normal numbers."""
        setup = self.setup
        return send(torch.randn(shape, generator=setup.stream, dtype=setup.dtype), setup.device)

    def adam(self, parameters: Iterable[Tensor] | Iterable[dict[str, Any]], rate: float) -> torch.optim.Adam:
        """Return the source's optimizer."""
        return torch.optim.Adam(parameters, lr=rate, betas=(self.setup.config.generator_beta1, ADAM_BETA2))

    def clipped(self, parameters: Iterable[Tensor]) -> Tensor:
        """Clip gradients to the trial's norm and return the norm that they had."""
        limit = self.setup.config.gradient_clip_norm
        return nn.utils.clip_grad_norm_(parameters, float("inf") if limit is None else limit)


def make_generator(setup: SourceSetup) -> Generator:
    """Return the generator that a config describes, with its first weights."""
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
    """Return what a generator makes of latents (images, latent_dim) and wanted classes (images,), normalised."""
    config = setup.config
    if config.class_conditional:
        # Of variance 1 over a batch, as the latents are.
        classes = nn.functional.one_hot(wanted, config.spec.num_classes).to(latents) * config.spec.num_classes**0.5
        latents = torch.cat([latents, classes], 1)
    with setup.autocast():
        made = generator(latents)
    made = made.to(setup.dtype)
    return setup.viewer.normalised(made) if config.generator_output == "sigmoid" else made
