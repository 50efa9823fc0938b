"""Images from a teacher alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from tests.support.tiny import make_teacher
from trainables.config.datasets import IMAGE_SIZE, find_normalisation, find_spec
from trainables.errors import TeacherError
from trainables.evaluation import BatchNormDistance
from trainables.evaluation.data_free import PROBE_KINDS
from trainables.networks import Network
from trainables.seeding import stream
from trainables.storage.object_store import ObjectStore
from trainables.teachers import probe_set as making
from trainables.teachers import probe_synthesis as synthesis
from trainables.teachers.probe_registry import ProbeRegistry
from trainables.teachers.probe_set import make_probe
from trainables.teachers.probe_synthesis import confident_images, paths, smooth_noise

CIFAR = find_normalisation("cifar10")


@pytest.fixture(autouse=True)
def _few_images() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "PROBE_IMAGES", 20)
        patch.setattr(making, "_PATHS", 4)
        patch.setattr(synthesis, "_BATCH", 20)
        yield


def network(name: str = "lenet", dataset: str = "digits") -> Network:
    return make_teacher(name, dataset=dataset).build().requires_grad_(False).eval()


def opinionated() -> Network:
    """A network with random opinions: a fresh LeNet has none, whatever it sees."""
    found = network()
    for parameter in found.parameters():
        parameter.mul_(3)
    return found


def test_the_teacher_is_sure_of_the_images_and_sees_each_class_as_often() -> None:
    teacher, normalisation = opinionated(), find_normalisation("digits")
    start = smooth_noise(40, 1, image_size=IMAGE_SIZE, random=stream(0, "test"))
    images = confident_images(teacher, normalisation, count=40, **find_spec("digits").shapes, random=stream(0, "test"))
    before, after = (teacher(batch)[0].softmax(1) for batch in (start, images))
    assert after.amax(1).mean() > before.amax(1).mean()
    assert (before.argmax(1) == torch.arange(40) % 10).float().mean() < 0.3
    assert (after.argmax(1) == torch.arange(40) % 10).float().mean() > 0.9
    assert images.min() >= -normalisation.mean[0] / normalisation.std[0] - 1e-5
    assert images.max() <= (1 - normalisation.mean[0]) / normalisation.std[0] + 1e-5


def test_a_teachers_batch_norm_draws_the_images_to_its_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = network("wrn-10-1", "cifar10")
    monkeypatch.setattr(synthesis, "_STEPS", 8)

    def distance(weight: float) -> float:
        monkeypatch.setattr(synthesis, "_STATISTICS", weight)
        images = confident_images(teacher, CIFAR, count=20, **find_spec("cifar10").shapes, random=stream(0, "test"))
        with BatchNormDistance(teacher) as statistics:
            teacher(images)
        found = statistics.mean()
        assert found is not None
        return found

    assert distance(10.0) < 0.9 * distance(0.0)


def test_paths_lead_to_their_classes() -> None:
    teacher = opinionated()
    start, targets = torch.zeros(3, 1, 32, 32), torch.tensor([1, 5, 9])
    moments = paths(teacher, start, targets, steps=6, every=2).split(3)
    assert len(moments) == 3
    sure = [teacher(images)[0].softmax(1)[torch.arange(3), targets] for images in (start, *moments)]
    for earlier, later in pairwise(sure):
        assert (later > earlier).all()


def test_smooth_noise_has_unit_variance_and_neighbours_alike() -> None:
    images = smooth_noise(5, 3, image_size=IMAGE_SIZE, random=stream(0, "test"))
    assert images.std((1, 2, 3)).tolist() == pytest.approx([1.0] * 5, rel=1e-5)
    assert (images[..., 1:] - images[..., :-1]).abs().mean() < 0.5


def test_a_probe_set_follows_from_the_teacher_and_is_kept_once(store: ObjectStore) -> None:
    teacher = make_teacher()
    registry = ProbeRegistry(store)
    assert registry.find(teacher.metadata) is None
    probe, again = make_probe(teacher), make_probe(teacher)
    assert set(probe.images) == set(PROBE_KINDS)
    assert [len(probe.images[kind]) for kind in PROBE_KINDS] == [20, 20, 20, 20, 20]
    assert len(probe.targets) == 20
    assert all(torch.equal(probe.images[kind], again.images[kind]) for kind in PROBE_KINDS)
    registry.add(probe, teacher.metadata)
    found = ProbeRegistry(store).find(teacher.metadata)
    assert found is not None
    assert all(torch.equal(probe.images[kind], found.images[kind]) for kind in PROBE_KINDS)
    assert torch.equal(found.targets, probe.targets)
    for other in (
        replace(teacher.metadata, sha256="1" * 64),
        replace(teacher.metadata, normalisation="half"),
    ):
        assert registry.find(other) is None, "other weights, or other pixels, make other images"


def test_a_damaged_probe_set_is_named(store: ObjectStore) -> None:
    teacher, registry = make_teacher(), ProbeRegistry(store)
    registry.add(make_probe(teacher), teacher.metadata)
    (key,) = store.keys("probes")
    store.write(key, store.read(key)[:100])
    with pytest.raises(TeacherError, match=r"probe set .* is damaged; delete it and it is made again"):
        registry.find(teacher.metadata)
