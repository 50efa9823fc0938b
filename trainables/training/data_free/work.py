"""Work of a data-free trial in forward passes: of each part of a pseudo batch, and of a whole one on average."""

from __future__ import annotations

from trainables.config.base import Passes
from trainables.config.data_free.config import DataFreeConfig
from trainables.config.data_free.pieces import POOLS, SOURCES, TERMS
from trainables.config.plugins import load
from trainables.training.data_free.pools.policies import PoolPolicy
from trainables.training.data_free.sources.base import Source
from trainables.training.data_free.terms.base import Term

_NONE = Passes(student=0, teacher=0, generator=0, updates=0)


def source_class(config: DataFreeConfig) -> type[Source]:
    """Return the class of the source that a config names.

    Raises:
        ValueError: ``source`` does not name a subclass of ``Source``.
    """
    found = SOURCES.load(config.source)
    if not (isinstance(found, type) and issubclass(found, Source)):
        raise ValueError(f"source={config.source}: expected a subclass of {Source.__module__}.Source, found {found!r}")
    return found


def policy_class(config: DataFreeConfig) -> type[PoolPolicy]:
    """Return the class of the pool policy that a config names.

    Raises:
        ValueError: ``pool`` does not name a subclass of ``PoolPolicy``.
    """
    found = POOLS.load(config.pool)
    if not (isinstance(found, type) and issubclass(found, PoolPolicy)):
        raise ValueError(
            f"pool={config.pool}: expected a subclass of {PoolPolicy.__module__}.PoolPolicy, found {found!r}"
        )
    return found


def term_classes(config: DataFreeConfig) -> dict[str, type[Term]]:
    """Return the classes of the terms that a config switches on, by name, in the order in which terms are added."""
    return {name: load(TERMS[name]) for name, weight in config.term_weights.items() if weight}


def needs_student(config: DataFreeConfig, *, early: bool) -> bool:
    """Return whether an update of the source needs the student's logits.

    Args:
        config: The trial's settings.
        early: Whether the update is in the warm-up.
    """
    if config.generator_term or config.student_entropy_weight:
        return True
    return not early and any(term.needs_student for term in term_classes(config).values())


def part_passes(config: DataFreeConfig) -> dict[str, Passes]:
    """Return the passes of each part of a pseudo batch, over batches of ``batch_size`` images.

    The parts are an ``update`` of the source, an ``early update`` (in the warm-up), the ``handing over`` of the images, and
    a ``student step``.
    """
    source, policy = source_class(config), policy_class(config)
    made = config.source_images / config.batch_size  # batches of images in one call of the source
    further = sum(term.further_looks for term in term_classes(config).values())
    if config.consistency_weight:
        further += 1

    def update(*, early: bool) -> Passes:
        return Passes(
            student=2 * made if needs_student(config, early=early) else 0,
            teacher=2 * made * (1 + further),
            generator=source.passes_of_update * made,
            updates=1,
        )

    fresh = config.latents == "fresh"
    handing_over = _NONE
    if not fresh:  # with fresh latents each student step makes images of its own
        handing_over = Passes(
            student=made if config.gate else 0,
            teacher=made * _looks_at_handing_over(config, policy),
            generator=made * source.passes_of_images if config.student_batch == "updated" else 0,
            updates=0,
        )
    batch = 1.0 if policy.keeps or fresh else made
    student_step = Passes(
        student=3 * batch,
        teacher=batch if fresh or (policy.keeps and not config.pool_views) else 0,
        generator=source.passes_of_images if fresh else 0,
        updates=1,
    )
    return {
        "update": update(early=False),
        "early update": update(early=True),
        "handing over": handing_over,
        "student step": student_step,
    }


def looks_again(config: DataFreeConfig) -> bool:
    """Return whether images handed over to a pool need another forward pass of the teacher.

    No pass is needed if the pool keeps one view of each image and this view was scored in an update of the source.
    """
    return config.student_batch == "updated" or config.pool_views != 1


def _looks_at_handing_over(config: DataFreeConfig, policy: type[PoolPolicy]) -> int:
    """Return the number of the teacher's forward passes for each image that is handed over."""
    if not policy.keeps:
        return 1
    if config.pool_views is None:
        return 1 if config.gate else 0
    return config.pool_views if looks_again(config) else 0


def unit_passes(config: DataFreeConfig) -> Passes:
    """Return the passes of a pseudo batch, mean over the trial including its warm-up."""
    parts = part_passes(config)
    early = config.units_before_learning / config.budget
    handed = 1.0 if policy_class(config).keeps else 1 - early

    times = {
        "update": (1 - early) * config.generator_steps,
        "early update": early * config.generator_steps,
        "handing over": handed,
        "student step": (1 - early) * config.student_steps,
    }
    columns = zip(*(parts[part] for part in times), strict=True)
    return Passes(*(sum(n * passes for n, passes in zip(times.values(), column, strict=True)) for column in columns))
