"""Fields of a data-free trial: the four parts that all data-free methods share, each chosen by name.

The defaults are those of belief matching: a standing generator, the adversarial term alone, no pool, Adam for the student.
So a trial that sets nothing else computes what ``method: zero_shot`` does.
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
"""Of source and student, of which the speed of a trial is told: a whole call may take an hour."""

_UNIT_PASSES = "trainables.training.data_free.work:unit_passes"
"""What adds up what the pieces compute; brings torch, which whoever counts work has already."""


class DataFreeConfig(TermWeights):
    """One data-free trial: a frozen teacher, a source of pseudo images, perhaps a pool of them, and a student."""

    # A field that takes other values than the base's is what mypy cannot know to be meant, here and at student_batch.
    method: Annotated[Literal["data_free"], given(cost=Cost.EQUAL, names=Names.NOTHING, inherited=True)] = "data_free"  # type: ignore[assignment]
    """The parts that all data-free methods share, put together by the fields below."""

    source: Annotated[SourceName, setting(cost=Cost.EQUAL, inherited=True)] = "generator"
    """What makes the images. ``generator``: a network that is trained all the time; ``meta_generator``: one whose copy is
    trained anew for each pseudo batch and that learns to be a good start; ``pixels``: the images themselves are learnt; or a
    source of your own. A pseudo batch is one call of the source, with ``generator_steps`` updates."""

    source_batch_size: Annotated[Annotated[int, Field(ge=2)] | None, setting(cost=Cost.EQUAL, inherited=False)] = None
    """Images that one call of the source makes; none: ``batch_size``."""

    generator_output: Annotated[Literal["batch_norm", "sigmoid"], setting(cost=Cost.EQUAL, inherited=True)] = (
        "batch_norm"
    )
    """What ends the generator. ``batch_norm``: normalised pixels without bounds, as published for belief matching;
    ``sigmoid``: pixels in [0, 1], then normalised as the teacher expects."""

    class_conditional: Annotated[bool, setting(cost=Cost.EQUAL, inherited=True)] = False
    """Whether the generator is told the wanted class of each image, as a one-hot vector beside the latents."""

    wanted_class: Annotated[Literal["own", "drawn"], setting(cost=Cost.EQUAL, inherited=False)] = "own"
    """Class that ``one_hot`` asks for: the teacher's own highest (DAFL, DFQ), or one drawn for each image (CMI, Fast)."""

    latent_lr: Annotated[Rate | None, Scale.LOGARITHMIC, setting(cost=Cost.SWITCH, inherited=False)] = None
    """Adam learning rate of the latents, which are then learnt beside the generator's weights; none: they stay as drawn. Of
    ``source=meta_generator``."""

    meta_lr: Annotated[Rate, Scale.LOGARITHMIC, setting(cost=Cost.NONE, inherited=False)] = 1e-2
    """Adam learning rate of the generator that ``source=meta_generator`` copies."""

    generator_beta1: Annotated[Share, setting(cost=Cost.NONE, inherited=False)] = 0.9
    """Decay of the first moment of the source's Adam. Published: 0.9 (belief matching, DFAD), 0.5 (the others)."""

    generator_schedule: Annotated[ScheduleName, setting(cost=Cost.NONE, inherited=False)] = "cosine"
    """How ``generator_lr`` changes over the learning-rate horizon; ``student_schedule`` has the choices."""

    source_views: Annotated[Views, setting(cost=Cost.EQUAL, inherited=False)] = "none"
    """What the terms of the source's loss see of the images: the images, or a random crop after padding by 4 and a mirror
    image of half of them, drawn anew for each update (Fast, CMI)."""

    student_batch: Annotated[Literal["updated", "scored", "best"], setting(cost=Cost.EQUAL, inherited=False)] = (
        "updated"  # type: ignore[assignment]
    )
    """Which images of a call are handed over: of the source after its last update, those of the last update, or those of the
    update with the lowest loss (CMI, Fast)."""

    warmup_share: Annotated[Share, setting(cost=Cost.AMOUNT, inherited=False)] = 0.0
    """Share of the learning-rate horizon's pseudo batches, at its beginning, in which the source learns without the
    adversarial term and the student not at all."""

    adversarial_mask: Annotated[Literal["none", "agreeing"], setting(cost=Cost.NONE, inherited=False)] = "none"
    """Images that count in the adversarial term: all, or those on which student and teacher agree in their highest class, by
    which the source looks for the border between classes (CMI, Fast)."""

    adversarial_temperature: Annotated[Rate | None, Scale.LOGARITHMIC, setting(cost=Cost.NONE, inherited=False)] = None
    """Temperature of the adversarial term; none: ``temperature``."""

    batch_norm_momentum: Annotated[Share, setting(cost=Cost.NONE, inherited=False)] = 0.0
    """Share that the statistics of earlier calls have in those that ``batch_norm`` compares (Fast: 0.9)."""

    gate: Annotated[GateName | None, setting(cost=Cost.EQUAL, inherited=False)] = None
    """Which of the handed-over images the student learns from: ``confident``, of which the teacher is sure by
    ``gate_threshold``; ``disagreeing``, on which the networks' highest classes differ; or a gate of your own. None: all."""

    gate_threshold: Annotated[Share, setting(cost=Cost.NONE, inherited=False)] = 0.5
    """Least probability of the teacher's highest class for ``gate=confident``."""

    pool: Annotated[PoolName, setting(cost=Cost.EQUAL, inherited=True)] = "none"
    """Where handed-over images go. ``none``: the student learns from them alone, ``student_steps`` times; ``all``: into a
    pool that keeps all of them, from which each student step draws ``batch_size``; ``newest``: the last ``pool_size``;
    ``reservoir``: ``pool_size`` of them, each of all so far with equal probability; or a policy of your own."""

    pool_size: Annotated[int, Field(ge=2), setting(cost=Cost.NONE, inherited=False)] = 8192
    """Images that ``pool=newest`` and ``pool=reservoir`` keep."""

    pool_precision: Annotated[Literal["uint8", "float16", "float32"], setting(cost=Cost.EQUAL, inherited=True)] = (
        "float16"
    )
    """How the pool keeps pixels. ``uint8`` clips them to [0, 1] and rounds to 255 steps."""

    pool_views: Annotated[Count | None, setting(cost=Cost.EQUAL, inherited=True)] = None
    """Views of each image in the pool for which the teacher's answers are kept, so that it never looks at one twice; none:
    a view is drawn for each student step and the teacher looks at it then (CMI, Fast)."""

    view: Annotated[Views, setting(cost=Cost.EQUAL, inherited=True)] = "crop_flip"
    """What the student sees of an image in the pool: the image, or a random crop after padding by 4 and a mirror image of
    half of them. The first of ``pool_views`` is the image itself, or with ``student_batch=scored`` what the source's terms
    saw of it."""

    student_optimizer: Annotated[Literal["adam", "sgd"], setting(cost=Cost.EQUAL, inherited=True)] = "adam"
    """Optimizer of the student."""

    student_momentum: Annotated[Share, setting(cost=Cost.NONE, inherited=False)] = 0.9
    """Momentum of ``student_optimizer=sgd``."""

    student_nesterov: Annotated[bool, setting(cost=Cost.NONE, inherited=False)] = False
    """Whether that momentum is Nesterov's; it must then be above 0."""

    student_weight_decay: Annotated[NonNegative, Scale.LOGARITHMIC, setting(cost=Cost.NONE, inherited=False)] = 0.0
    """L2 penalty on every parameter of the student, as its optimizer applies it."""

    student_schedule: Annotated[ScheduleName, setting(cost=Cost.NONE, inherited=False)] = "cosine"
    """How ``student_lr`` changes over the pseudo batches after the warm-up: ``cosine`` to 0; ``one_cycle``, up for a fifth
    and down to 0 by a cosine; ``milestones``, a tenth at 60, 80 and 90 %; ``constant``; or a schedule of your own."""

    student_average: Annotated[Share, setting(cost=Cost.SWITCH, inherited=True)] = 0.0
    """Decay of an exponential moving average of the student's weights and statistics, one step for each update, which is
    what is measured and kept; 0: the student as it is."""

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        for wrong, message in self._contradictions():
            if wrong:
                raise ValueError(message)
        return self

    def _contradictions(self) -> list[tuple[bool, str]]:
        """What cannot go together, each with what to do."""
        pooled = self.pool != "none"
        bounded = self.source == "pixels" or self.generator_output == "sigmoid"
        return [
            (
                self.numerics == "exact" and (pooled or self.source != "generator"),
                "numerics=exact is the published loop's order of operations; allowed: fast, where source or pool differ",
            ),
            (
                not any(self.term_weights.values()),
                f"the source has no loss: give one of {', '.join(f'{name}_weight' for name in TERMS)}",
            ),
            (
                pooled and self.latents == "fresh",
                "latents=fresh is for pool=none: from a pool each student step draws anyway; allowed: shared",
            ),
            (
                self.latents == "fresh" and self.source == "pixels",
                "latents=fresh needs a source with latents; allowed with source=pixels: shared",
            ),
            (self.latents == "fresh" and self.student_batch == "best", "student_batch=best needs latents=shared"),
            (
                self.latents == "fresh" and self.gate is not None,
                f"gate={self.gate} is for images that are handed over: it needs latents=shared",
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
                "class_conditional=true needs wanted_class=drawn: the generator is told the class that is wanted",
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
        """Factor of each term of the source's loss, by its name, in the order in which they are added."""
        return {name: getattr(self, f"{name}_weight") for name in TERMS}

    @property
    def source_images(self) -> int:
        """Images that one call of the source makes."""
        return self.source_batch_size or self.batch_size

    @property
    def warmup(self) -> int:
        """Pseudo batches at the beginning of the learning-rate horizon in which the student does not learn."""
        return min(round(self.warmup_share * self.horizon), self.horizon - 1)

    @property
    def units_before_learning(self) -> int:
        return min(self.warmup, self.budget)

    @property
    def steps_per_unit(self) -> int:
        # The source's updates, handing the images over, and the student's; in the warm-up there are none of these.
        return self.generator_steps + 1 + self.student_steps

    @property
    def student_updates_per_unit(self) -> float:
        return self.student_steps * (1 - self.units_before_learning / self.budget)

    @property
    def generator_input(self) -> int:
        """Width of what the generator is given: latents, and the wanted class where it is told that."""
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
            "gate": None,  # networks that know nothing would let none pass
            "compilation": "never",
            "data_free_scores": False,
        }
        small = self.model_copy(update=few)
        return TimingProbe(short=small, longer=small, repeats=0, whole_units=True)

    @property
    def wants_compilation(self) -> bool:
        # What a gate lets pass without a pool has another size each time, for each of which torch would compile anew.
        return super().wants_compilation and not (self.gate and self.pool == "none")
