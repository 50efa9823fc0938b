"""Extra terms of the generator's loss, from the paper's first supplement, which says that all of them hurt.

The supplement names the terms; their signs, given in ``ZeroShotConfig``, are this project's choice. To add a term to this
project, write a function here, enter its name in ``trainables.config.divergences``, and add a field ``NAME_weight`` to the
config. A user's own term is a function of ``Seen`` that the field ``generator_term`` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import ZeroShotConfig
from trainables.config.divergences import GENERATOR_TERMS
from trainables.networks import Network
from trainables.training.losses import FORWARD_KL, entropy, mean_distance

_NOISE = 0.1
"""Standard deviation, in normalised pixels, of the noise that the consistency term adds to images."""


@dataclass
class Seen:
    """Pseudo images of one generator step, with the networks' outputs on them."""

    images: Tensor
    student_logits: Tensor
    teacher_logits: Tensor
    teacher_features: Tensor | None
    """Input of the teacher's last linear layer, (batch, width). None if the teacher has no linear layer; may also be None
    if no term that is switched on needs the features."""

    disturbed: Callable[[Tensor], Tensor]
    """Function that returns images with noise added, or blurred, as ``consistency_disturbance`` says."""

    ask_teacher: Callable[[Tensor], Tensor]
    """Function that returns the teacher's logits for images."""


def teacher_entropy(seen: Seen) -> Tensor:
    """Return the entropy of the teacher's prediction, mean over the images, in nats."""
    return entropy(seen.teacher_logits)


def student_entropy(seen: Seen) -> Tensor:
    """Return the entropy of the student's prediction, mean over the images, in nats."""
    return entropy(seen.student_logits)


def diversity(seen: Seen) -> Tensor:
    """Return minus the mean distance between the inputs of the teacher's last linear layer, over pairs of images."""
    assert seen.teacher_features is not None
    return -mean_distance(seen.teacher_features.to(seen.images.dtype))


def consistency(seen: Seen) -> Tensor:
    """Return KL(teacher on images || teacher on disturbed images), mean over the batch."""
    disturbed = FORWARD_KL.outputs(seen.ask_teacher(seen.disturbed(seen.images)), 1.0)
    return FORWARD_KL(disturbed, FORWARD_KL.outputs(seen.teacher_logits, 1.0), "batchmean")


class GeneratorTerms:
    """Extra generator terms that a config switches on, each multiplied by its factor."""

    def __init__(
        self,
        config: ZeroShotConfig,
        teacher: Network,
        forward: Callable[[Network, Tensor], tuple[Tensor, list[Tensor]]],
        noise_stream: torch.Generator,
        *,
        watch: bool = True,
    ) -> None:
        """Prepare the terms that a config switches on.

        Args:
            config: The trial's settings.
            teacher: Teacher whose outputs the terms use.
            forward: Function that returns logits and activations of a network in the trial's precision.
            noise_stream: Random stream for the noise; on the CPU like that of the latents, so equal on every device.
            watch: Whether to capture the input of the teacher's last linear layer with a hook. False means that the caller
                passes it to ``terms`` as ``features``.

        Raises:
            ValueError: ``diversity_weight`` is not 0 and the teacher has no linear layer.
        """
        self._teacher = teacher
        self._forward = forward
        self._noise_stream = noise_stream
        self._features: Tensor | None = None
        line = torch.tensor([0.25, 0.5, 0.25])
        # Made here, since making this tensor in the loop would wait for the GPU.
        self._blur = torch.outer(line, line).to(next(teacher.parameters()))
        weights = _weights(config)
        self._terms = [(weight, _term(name)) for name, weight in weights.items()]
        foreign = not weights.keys() <= GENERATOR_TERMS.own.keys()
        self._adds_noise = config.consistency_disturbance == "noise" and ("consistency" in weights or foreign)
        if "diversity" in weights or foreign:
            layers = [module for module in teacher.modules() if isinstance(module, nn.Linear)]
            if layers and watch:
                layers[-1].register_forward_pre_hook(self._keep_features)
            elif not layers and "diversity" in weights:
                raise ValueError(
                    f"diversity_weight: {config.teacher} has no linear layer whose inputs could be compared; allowed: 0"
                )

    def draw(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
        """Draw the noise for one call of ``terms``, on the CPU; None if no term adds noise."""
        if not self._adds_noise:
            return None
        return torch.randn(shape, generator=self._noise_stream, dtype=dtype)

    def terms(
        self,
        images: Tensor,
        student_logits: Tensor,
        teacher_logits: Tensor,
        noise: Tensor | None,
        *,
        features: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the weighted terms, each a scalar to be added to the loss.

        To be called after the teacher's forward pass on ``images``, whose captured features replace ``features=None``.
        """
        seen = Seen(
            images=images,
            student_logits=student_logits,
            teacher_logits=teacher_logits,
            teacher_features=self._features if features is None else features,
            disturbed=lambda images: self._disturbed(images, noise),
            ask_teacher=lambda images: self._forward(self._teacher, images)[0],
        )
        return [weight * term(seen) for weight, term in self._terms]

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the noise stream."""
        return {"noise_stream": self._noise_stream.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self._noise_stream.set_state(state["noise_stream"])

    def _disturbed(self, images: Tensor, noise: Tensor | None) -> Tensor:
        if noise is not None:
            return images + _NOISE * noise
        channels = images.shape[1]
        kernel = self._blur.expand(channels, 1, 3, 3)
        return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=channels)

    def _keep_features(self, module: nn.Module, inputs: tuple[Tensor]) -> None:
        self._features = inputs[0]


def _term(name: str) -> Callable[[Seen], Tensor]:
    """Return the term of that name; a term from outside this project is checked to return a scalar."""
    term: Callable[[Seen], Tensor] = GENERATOR_TERMS.load(name)
    if name in GENERATOR_TERMS.own:
        return term

    def scalar(seen: Seen) -> Tensor:
        value = term(seen)
        if value.shape:
            raise ValueError(f"generator_term={name}: expected a scalar, found {tuple(value.shape)}")
        return value

    return scalar


def _weights(config: ZeroShotConfig) -> dict[str, float]:
    """Return the factor of each term that is switched on, in the order in which they are added."""
    weights: dict[str, float] = {name: getattr(config, f"{name}_weight") for name in GENERATOR_TERMS.own}
    named, factor = config.generator_term, config.generator_term_weight
    if named is not None:
        weights[named] = weights.get(named, 0.0) + (1.0 if factor is None else factor)
    return {name: weight for name, weight in weights.items() if weight}
