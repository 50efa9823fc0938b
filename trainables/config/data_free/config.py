"""Fields of a data-free trial: the four parts that all data-free methods have, each chosen by name.

The defaults are belief matching: a generator that is trained throughout, the adversarial term alone, no pool, Adam for the
student. With these defaults a trial computes what ``method: zero_shot`` computes.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainables.config.base import Count, NonNegative, Passes, Rate, Scale, Share
from trainables.config.data_free.pieces import TERMS, GateName, PoolName, ScheduleName, SourceName
from trainables.config.data_free.weights import TermWeights, term_description
from trainables.config.plugins import load
from trainables.config.roles import Cost, Names, given, setting
from trainables.config.trial import TimingProbe

Views = Literal["none", "crop_flip"]

_TIMED_STEPS = 2
"""Steps of source and of student, at most, in a timing probe, since a whole pseudo batch may take an hour."""

_UNIT_PASSES = "trainables.training.data_free.work:unit_passes"
"""Function that adds up the work of the parts; imported on use, since it imports torch."""


class DataFreeConfig(TermWeights):
    """Data-free trial: a frozen teacher, a source of pseudo images, an optional pool of pseudo images, and a student."""

    # Here and at student_batch the field allows other values than the base class's, which mypy reports.
    method: Annotated[Literal["data_free"], given(cost=Cost.EQUAL, names=Names.NOTHING, inherited=True)] = "data_free"  # type: ignore[assignment]
    """Data-free distillation, composed of the parts that the fields below choose."""

    source: Annotated[SourceName, setting(cost=Cost.EQUAL, inherited=True)] = "generator"
    """Source of the pseudo images. ``generator``: a generator that is trained throughout; ``meta_generator``: for each
    pseudo batch a copy of the generator is trained and then dropped, while the generator itself learns to be a good starting
    point for the copies; ``pixels``: the pixels themselves are optimised; or a source of your own. A pseudo batch is one
    call of the source, with ``generator_steps`` updates."""

    source_batch_size: Annotated[Annotated[int, Field(ge=2)] | None, setting(cost=Cost.EQUAL, inherited=False)] = None
    """Number of images that one call of the source makes. Defaults to ``batch_size``."""

    generator_output: Annotated[Literal["batch_norm", "sigmoid"], setting(cost=Cost.EQUAL, inherited=True)] = (
        "batch_norm"
    )
    """Last layer of the generator. ``batch_norm``: its output is normalised pixels without bounds, as published for belief
    matching; ``sigmoid``: its output is pixels in [0, 1], which are then normalised as the teacher expects."""

    class_conditional: Annotated[bool, setting(cost=Cost.EQUAL, inherited=True)] = False
    """Whether the generator's input also has the wanted class of each image, as a one-hot vector after the latent."""

    wanted_class: Annotated[Literal["own", "drawn"], setting(cost=Cost.EQUAL, inherited=False)] = "own"
    """Class that the term ``one_hot`` favours. ``own``: the class that the teacher finds most probable (DAFL, DFQ);
    ``drawn``: a class drawn at random for each image (CMI, Fast)."""

    latent_lr: Annotated[Rate | None, Scale.LOGARITHMIC, setting(cost=Cost.SWITCH, inherited=False)] = None
    """Adam learning rate of the latents of ``source=meta_generator``, which are then trained together with the generator's
    weights. None means that the latents stay as drawn."""

    meta_lr: Annotated[Rate, Scale.LOGARITHMIC, setting(cost=Cost.NONE, inherited=False)] = 1e-2
    """Adam learning rate of the generator that ``source=meta_generator`` copies."""

    generator_beta1: Annotated[Share, setting(cost=Cost.NONE, inherited=False)] = 0.9
    """Decay of the first moment of the source's Adam. Published: 0.9 (belief matching, DFAD), 0.5 (the other methods)."""

    generator_schedule: Annotated[ScheduleName, setting(cost=Cost.NONE, inherited=False)] = "cosine"
    """Schedule of ``generator_lr`` over the learning-rate horizon; same choices as for ``student_schedule``."""

    source_views: Annotated[Views, setting(cost=Cost.EQUAL, inherited=False)] = "none"
    """Views of the images for which the source's loss is computed. ``none``: the images themselves; ``crop_flip``: a random
    crop after padding by 4 pixels, mirrored with probability 1/2, drawn anew for each update (Fast, CMI)."""

    student_batch: Annotated[Literal["updated", "scored", "best"], setting(cost=Cost.EQUAL, inherited=False)] = (
        "updated"  # type: ignore[assignment]
    )
    """Images that a call of the source passes on to the student. ``updated``: images of the source after its last update;
    ``scored``: images for which the loss of the last update was computed; ``best``: images of the update with the lowest
    loss (CMI, Fast)."""

    warmup_share: Annotated[Share, setting(cost=Cost.AMOUNT, inherited=False)] = 0.0
    """Length of the warm-up as a share of the learning-rate horizon. In these first pseudo batches the source is trained
    without the adversarial term, and the student is not trained."""

    adversarial_mask: Annotated[Literal["none", "agreeing"], setting(cost=Cost.NONE, inherited=False)] = "none"
    """Images that count in the adversarial term. ``none``: all images; ``agreeing``: only images for which student and
    teacher find the same class most probable, so that the source searches near the boundaries between classes (CMI,
    Fast)."""

    adversarial_temperature: Annotated[Rate | None, Scale.LOGARITHMIC, setting(cost=Cost.NONE, inherited=False)] = None
    """Temperature of the adversarial term. Defaults to ``temperature``."""

    batch_norm_momentum: Annotated[Share, setting(cost=Cost.NONE, inherited=False)] = 0.0
    """Weight m of earlier calls' statistics in the term ``batch_norm``, which compares m times the statistics of earlier
    calls plus 1 - m times those of the current call (Fast: 0.9)."""

    gate: Annotated[GateName | None, setting(cost=Cost.EQUAL, inherited=False)] = None
    """Gate that selects the images for the student. ``confident``: images for which the teacher's highest probability is at
    least ``gate_threshold``; ``disagreeing``: images for which student and teacher find different classes most probable; or
    a gate of your own. None means all images."""

    gate_threshold: Annotated[Share, setting(cost=Cost.NONE, inherited=False)] = 0.5
    """Minimum of the teacher's highest probability for an image to pass ``gate=confident``."""

    pool: Annotated[PoolName, setting(cost=Cost.EQUAL, inherited=True)] = "none"
    """Pool of pseudo images, from which each student step draws ``batch_size``. ``none``: there is no pool; the student
    learns from the images of each call alone, ``student_steps`` times; ``all``: all images ever made; ``newest``: the newest
    ``pool_size`` images; ``reservoir``: a random sample of ``pool_size`` images, in which each image made so far is equally
    likely; or a policy of your own."""

    pool_size: Annotated[int, Field(ge=2), setting(cost=Cost.NONE, inherited=False)] = 8192
    """Maximum number of images in the pool with ``pool=newest`` and ``pool=reservoir``."""

    pool_precision: Annotated[Literal["uint8", "float16", "float32"], setting(cost=Cost.EQUAL, inherited=True)] = (
        "float16"
    )
    """Number format of the pixels in the pool. ``uint8`` clips pixels to [0, 1] and rounds them to multiples of 1/255."""

    pool_views: Annotated[Count | None, setting(cost=Cost.EQUAL, inherited=True)] = None
    """Number of views of each image in the pool for which the teacher's outputs are computed once and kept; student steps
    draw from these views. None means that each student step draws a new view, for which the teacher takes a forward pass
    (CMI, Fast)."""

    view: Annotated[Views, setting(cost=Cost.EQUAL, inherited=True)] = "crop_flip"
    """View of an image in the pool that the student sees. ``none``: the image itself; ``crop_flip``: a random crop after
    padding by 4 pixels, mirrored with probability 1/2. The first of ``pool_views`` views is the image itself; with
    ``pool_views=1`` and ``student_batch`` ``scored`` or ``best`` it is the view for which the source's loss was computed."""

    student_optimizer: Annotated[Literal["adam", "sgd"], setting(cost=Cost.EQUAL, inherited=True)] = "adam"
    """Optimizer of the student."""

    student_momentum: Annotated[Share, setting(cost=Cost.NONE, inherited=False)] = 0.9
    """Momentum of ``student_optimizer=sgd``."""

    student_nesterov: Annotated[bool, setting(cost=Cost.NONE, inherited=False)] = False
    """Whether ``student_optimizer=sgd`` uses Nesterov momentum; ``student_momentum`` must then be above 0."""

    student_weight_decay: Annotated[NonNegative, Scale.LOGARITHMIC, setting(cost=Cost.NONE, inherited=False)] = 0.0
    """L2 penalty on every parameter of the student, as torch's optimizer applies it."""

    student_schedule: Annotated[ScheduleName, setting(cost=Cost.NONE, inherited=False)] = "cosine"
    """Schedule of ``student_lr`` over the pseudo batches after the warm-up. ``cosine``: annealed to 0; ``one_cycle``: rises
    linearly for a fifth of the time, then annealed to 0 by a cosine; ``milestones``: divided by 10 at 60, 80 and 90 %;
    ``constant``; or a schedule of your own."""

    student_average: Annotated[Share, setting(cost=Cost.SWITCH, inherited=True)] = 0.0
    """Decay, per update, of an exponential moving average of the student's weights and statistics; the average is then
    measured and kept in place of the student. 0 means no averaging."""

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        for wrong, message in self._contradictions():
            if wrong:
                raise ValueError(message)
        return self

    def _contradictions(self) -> list[tuple[bool, str]]:
        """Return all checks of combined settings, each as (whether it fails, message)."""
        pooled = self.pool != "none"
        bounded = self.source == "pixels" or self.generator_output == "sigmoid"
        return [
            (
                self.numerics == "exact" and (pooled or self.source != "generator"),
                "numerics=exact needs source=generator and pool=none, as in the published loop; allowed otherwise: fast",
            ),
            (
                not any(self.term_weights.values()),
                f"the source has no loss: give one of {', '.join(f'{name}_weight' for name in TERMS)}",
            ),
            (
                pooled and self.latents == "fresh",
                "latents=fresh needs pool=none, since each student step draws from the pool; allowed: shared",
            ),
            (
                self.latents == "fresh" and self.source == "pixels",
                "latents=fresh needs a source with latents; allowed with source=pixels: shared",
            ),
            (self.latents == "fresh" and self.student_batch == "best", "student_batch=best needs latents=shared"),
            (
                self.latents == "fresh" and self.gate is not None,
                f"gate={self.gate} needs latents=shared: with latents=fresh the source passes on no images to select from",
            ),
            (
                pooled and self.pool_precision == "uint8" and not bounded,
                "pool_precision=uint8 would clip images without bounds; allowed: float16 or float32, or "
                "generator_output=sigmoid",
            ),
            (
                self.latent_lr is not None and self.source in {"generator", "pixels"},
                f"latent_lr has no effect with source={self.source}; allowed: none",
            ),
            (
                self.class_conditional and self.source == "pixels",
                "class_conditional=true needs a generator; allowed with source=pixels: false",
            ),
            (
                self.student_nesterov and (self.student_optimizer != "sgd" or not self.student_momentum),
                "student_nesterov=true needs student_optimizer=sgd with student_momentum above 0",
            ),
            (
                self.wanted_class == "own" and self.class_conditional,
                "class_conditional=true needs wanted_class=drawn: the class is an input of the generator",
            ),
        ]

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        terms = {
            f"{name}_weight": f"Factor in the source's loss of ``{name}``. {term_description(name)}" for name in TERMS
        }
        return super().descriptions() | terms

    @property
    def term_weights(self) -> dict[str, float]:
        """Factor of each term of the source's loss, by the term's name, in the order in which the terms are added."""
        return {name: getattr(self, f"{name}_weight") for name in TERMS}

    @property
    def source_images(self) -> int:
        """Number of images that one call of the source makes."""
        return self.source_batch_size or self.batch_size

    @property
    def warmup(self) -> int:
        """Length of the warm-up in pseudo batches, in which the student is not trained."""
        return min(round(self.warmup_share * self.horizon), self.horizon - 1)

    @property
    def units_before_learning(self) -> int:
        return min(self.warmup, self.budget)

    @property
    def steps_per_unit(self) -> int:
        # The source's updates, a step that passes the images on, and the student's updates. The warm-up has no student
        # updates.
        return self.generator_steps + 1 + self.student_steps

    @property
    def student_updates_per_unit(self) -> float:
        return self.student_steps * (1 - self.units_before_learning / self.budget)

    @property
    def generator_input(self) -> int:
        """Length of the generator's input: the latent, plus the one-hot class with ``class_conditional``."""
        return self.latent_dim + (self.spec.num_classes if self.class_conditional else 0)

    @property
    def generator_size(self) -> tuple[int, int]:
        return self.generator_input, self.generator_width

    @property
    def passes_per_step(self) -> Passes:
        passes: Passes = load(_UNIT_PASSES)(self)
        return Passes(*(number / self.steps_per_unit for number in passes))

    @property
    def timing_probe(self) -> TimingProbe:
        few = {
            "generator_steps": min(self.generator_steps, _TIMED_STEPS),
            "student_steps": min(self.student_steps, _TIMED_STEPS),
            "warmup_share": 0.0,
            "gate": None,  # the untrained networks of a probe might let no image pass
            "compilation": "never",
            "data_free_scores": False,
        }
        small = self.model_copy(update=few)
        return TimingProbe(short=small, longer=small, repeats=0, whole_units=True)

    @property
    def wants_compilation(self) -> bool:
        # Without a pool, a gate lets a different number of images pass each time, and torch would compile for each number.
        return super().wants_compilation and not (self.gate and self.pool == "none")
