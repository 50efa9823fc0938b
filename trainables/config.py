"""Every knob of a trial: its type, default, unit, range and source. Importing this module imports neither torch nor ray.

The defaults of ``ZeroShotConfig`` are the published CIFAR-10 settings (Micaelli & Storkey, NeurIPS 2019, and the
authors' code where the paper is silent or differs); "section N" in this package means that part of the method as the
page ``docs/method.md`` tells it. Configs are flat and scalar, so that a config is a row of the results table.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from trainables.datasets import NORMALISATIONS, SPECS, DatasetName, NormalisationName
from trainables.network_names import check_network_name

NetworkName = Annotated[str, AfterValidator(check_network_name)]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Config(BaseModel):
    """Base of all settings: cannot be changed, refuses unknown fields, takes descriptions from docstrings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ZeroShotConfig(Config):
    """One zero-shot trial: a frozen teacher, a generator and a student that sees no real image."""

    dataset: DatasetName = "cifar10"
    """Data set the teacher was trained on; the student's accuracy is measured on it, and nothing else is done with it."""

    teacher: NetworkName = "wrn-40-2"
    """Architecture of the frozen teacher: ``lenet`` or ``wrn-D-K``."""

    student: NetworkName = "wrn-16-1"
    """Architecture of the student that is trained."""

    teacher_checkpoint: str | None = None
    """File with published teacher weights (``{"state_dict": ...}`` or a bare state dict); none: the registry's, trained
    here if need be."""

    normalisation: NormalisationName | None = None
    """Normalisation that the teacher expects of real images; none: the data set's own. ``half`` is (0.5, 0.5), ``unit``
    leaves pixels in [0, 1]."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seeds the student's and the generator's initial weights and the latents, each through a stream of its own."""

    generator_steps: Count = 1
    """Optimizer updates of the generator per pseudo batch (n_G in the paper)."""

    student_steps: Count = 10
    """Optimizer updates of the student per pseudo batch (n_S in the paper)."""

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Divides both logits before the softmax in the KL divergence; no T^2 factor is applied."""

    attention_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 250.0
    """Factor of the attention transfer in the student's loss (the paper's beta), tied to the KL divergence's mean over
    batch and classes. 0 leaves the term out."""

    student_lr: Rate = 2e-3
    """Initial Adam learning rate of the student, annealed to 0 by a cosine over ``total_pseudo_batches``."""

    generator_lr: Rate = 1e-3
    """Initial Adam learning rate of the generator, annealed likewise. The published code has 1e-3, the text 2e-3."""

    gradient_clip_norm: Rate = 5.0
    """Global L2 norm to which each network's gradient is clipped at every step (in the published code, not the text)."""

    batch_size: Annotated[int, Field(ge=2)] = 128
    """Pseudo images per pseudo batch; at least 2, since BatchNorm is trained on them."""

    latent_dim: Count = 100
    """Length of the generator's standard normal input."""

    generator_width: Annotated[int, Field(ge=2, multiple_of=2)] = 128
    """Channels of the generator's first two stages; the third has half as many. Even; the published generator has 128."""

    total_pseudo_batches: Count = 80_000
    """Pseudo batches in the trial's budget, and the horizon of both cosines. Published: 80,000 (CIFAR-10), 50,000 (SVHN)."""

    stop_at_pseudo_batch: Count | None = None
    """End the trial here although the cosines are laid out over ``total_pseudo_batches``; none: run the whole budget."""

    evaluation_interval: Count | None = None
    """Pseudo batches between reports; none: a hundredth of ``total_pseudo_batches``, as published."""

    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the training split set aside, stratified by class, to select on. No teacher trained here sees it."""

    split_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Chooses which training images form the validation part."""

    @model_validator(mode="after")
    def _check_stop(self) -> Self:
        if self.stop_at_pseudo_batch is not None and self.stop_at_pseudo_batch > self.total_pseudo_batches:
            raise ValueError(
                f"stop_at_pseudo_batch={self.stop_at_pseudo_batch} lies behind "
                f"total_pseudo_batches={self.total_pseudo_batches}; allowed: 1 to {self.total_pseudo_batches}, or none"
            )
        return self

    @model_validator(mode="after")
    def _check_normalisation(self) -> Self:
        if self.normalisation is not None:
            channels = len(NORMALISATIONS[self.normalisation].mean)
            if channels not in {1, SPECS[self.dataset].channels}:
                fitting = [n for n, v in NORMALISATIONS.items() if len(v.mean) in {1, SPECS[self.dataset].channels}]
                raise ValueError(
                    f"normalisation={self.normalisation} has {channels} channels and {self.dataset} has "
                    f"{SPECS[self.dataset].channels}; allowed: {', '.join(fitting)}, or none"
                )
        return self

    @property
    def last_pseudo_batch(self) -> int:
        """Number of pseudo batches after which the trial is complete."""
        return self.stop_at_pseudo_batch or self.total_pseudo_batches

    @property
    def pseudo_batches_per_report(self) -> int:
        """Pseudo batches between reports, at least 1."""
        return self.evaluation_interval or max(1, self.total_pseudo_batches // 100)


class SupervisedConfig(Config):
    """Training on labelled images: the recipe of teachers and of students from scratch (section 3.1)."""

    epochs: Count = 200
    """Passes over the training images. Published: 200 (CIFAR-10), 100 (SVHN)."""

    learning_rate: Rate = 0.1
    """Initial SGD learning rate, multiplied by 0.2 at 30, 60 and 80 % of the epochs."""

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """SGD momentum, without Nesterov."""

    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5e-4
    """L2 penalty on every parameter, as SGD applies it."""

    batch_size: Annotated[int, Field(ge=2)] = 128
    """Images per step; the last, smaller batch of an epoch is used too."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seeds the initial weights, the order of the images and the augmentation, each through a stream of its own."""


def allowed_values(model: type[BaseModel], field: str) -> str:
    """What a field accepts, in words, read from its type and bounds: for error messages and the reference page."""
    schema: dict[str, Any] = model.model_json_schema()["properties"][field]
    return " or ".join(_describe(part) for part in schema.get("anyOf", [schema]))


_BOUNDS = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "null": "none",
    "boolean": "true or false",
}


def _describe(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if schema.get("type") not in _TYPES:
        return "a block of fields" if "$ref" in schema or schema.get("type") == "object" else "a list"
    bounds = [f"{sign} {_plain(schema[key])}" for key, sign in _BOUNDS if key in schema]
    if "multipleOf" in schema:
        bounds.append(f"a multiple of {schema['multipleOf']}")
    return " ".join([_TYPES[schema["type"]], ", ".join(bounds)]).strip()


def _plain(bound: float) -> str:
    return "2^63" if bound == 2**63 else f"{bound:g}"
