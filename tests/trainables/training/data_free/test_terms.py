"""Terms of a source's loss against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.compositions import make_config
from trainables.config.data_free.pieces import TERMS
from trainables.config.data_free.weights import term_description
from trainables.config.datasets import Normalisation
from trainables.config.plugins import load
from trainables.networks import Network
from trainables.training.data_free.loss import SourceLoss
from trainables.training.data_free.parts import Parts
from trainables.training.data_free.teacher import CountedTeacher
from trainables.training.data_free.terms.base import Look, Term, TermSetup
from trainables.training.data_free.views import Viewer
from trainables.training.matching import StudentMatching

LOG2 = math.log(2)


class _Means(Network):
    """BatchNorm, the mean of each channel, and a linear layer that passes on three of them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.fc = nn.Linear(3, 3, bias=False)
        nn.init.eye_(self.fc.weight)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.fc(self.norm(images).mean((2, 3))), []


def make_setup(teacher: Network | None = None, **changes: Any) -> TermSetup:
    """What a term is made with, of a teacher in eval mode."""
    config = make_config(**changes)
    network = (teacher or _Means()).eval().requires_grad_(False).double()
    matching = StudentMatching(
        config, teacher=network, student=network, attention_pairs=[], device=torch.device("cpu"), dtype=torch.float64
    )
    counted = CountedTeacher(network, forward=matching.forward)
    loss = SourceLoss(
        Parts(
            config=config.model_copy(update={f"{name}_weight": 0.0 for name in TERMS}),
            teacher=counted,
            matching=matching,
            viewer=Viewer(Normalisation(mean=(0.0,), std=(1.0,)), 3, device=torch.device("cpu"), dtype=torch.float64),
            streams={name: torch.Generator() for name in ("noise", "views", "wanted classes")},
            seed=0,
            device=torch.device("cpu"),
            dtype=torch.float64,
        )
    )
    return TermSetup(
        config=config,
        teacher=counted,
        adversarial_loss=loss._divergence,
        stream=torch.Generator().manual_seed(0),
        device=torch.device("cpu"),
        dtype=torch.float64,
    )


def make_term(name: str, teacher: Network | None = None, **changes: Any) -> Term:
    """A term of a trial with these settings."""
    term: Term = load(TERMS[name])(make_setup(teacher, **changes))
    return term


def look(**parts: Any) -> Look:
    """What the networks make of two images."""
    images = parts.pop("images", torch.zeros(2, 3, 2, 2, dtype=torch.float64))
    logits = torch.zeros(len(images), 3, dtype=torch.float64)
    return Look(
        **{
            "images": images,
            "seen": images,
            "teacher_logits": logits,
            "teacher_features": None,
            "teacher_maps": [],
            "student_logits": logits,
            "wanted": torch.zeros(len(images), dtype=torch.int64),
            **parts,
        }
    )


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_adversarial_is_minus_the_divergence_with_the_trials_reduction_and_factor() -> None:
    # Teacher (1/2, 1/2) twice; student (1/4, 3/4) and (1/2, 1/2): KL of the first image log 2 - log(3)/2, of the second 0.
    teacher = rows([0.0, 0.0], [0.0, 0.0])
    student = rows([0.0, math.log(3)], [0.0, 0.0])
    divergence = LOG2 - math.log(3) / 2
    seen = look(teacher_logits=teacher, student_logits=student)
    assert make_term("adversarial")(seen) == pytest.approx(-divergence / 4)
    batchmean = make_term("adversarial", divergence_reduction="batchmean")
    assert batchmean(seen) == pytest.approx(-divergence / 2)
    warm = make_term(
        "adversarial", divergence_reduction="batchmean", adversarial_temperature=2.0, temperature_factor="squared"
    )
    softened = look(teacher_logits=teacher, student_logits=2 * student)
    assert warm(softened) == pytest.approx(-4 * divergence / 2)


def test_adversarial_counts_agreeing_images_alone_and_divides_by_all() -> None:
    teacher, student = rows([1.0, 0.0], [1.0, 0.0]), rows([2.0, 0.0], [0.0, 1.0])
    masked = make_term("adversarial", adversarial_mask="agreeing", divergence_reduction="batchmean")
    whole = make_term("adversarial", divergence_reduction="batchmean")
    first = look(teacher_logits=teacher[:1], student_logits=student[:1])
    both = look(teacher_logits=teacher, student_logits=student)
    assert masked(both) == pytest.approx(float(whole(first)) / 2)
    assert whole(both) < masked(both) < 0


def test_batch_norm_is_the_sum_of_norms_of_differences_of_biased_statistics() -> None:
    teacher = _Means()
    teacher.norm.running_mean = torch.tensor([0.0, 1.0, 3.0])
    teacher.norm.running_var = torch.tensor([1.0, 4.0, 1.0])
    images = torch.zeros(2, 3, 1, 2, dtype=torch.float64)
    images[0, 0], images[1, 0] = 2.0, -2.0  # mean 0, variance 4
    term = make_term("batch_norm", teacher)
    term.setup.teacher.observed(images)
    # Means differ by (0, 1, 3), variances by (3, -4, -1).
    first = math.sqrt(10) + math.sqrt(26)
    assert term(look(images=images)) == pytest.approx(first)
    slow = make_term("batch_norm", teacher, batch_norm_momentum=0.5)
    slow.setup.teacher.observed(images)
    assert slow(look(images=images)) == pytest.approx(first)
    slow.call_ended()
    slow.setup.teacher.observed(torch.zeros_like(images))
    # Variances are now half of what they were, (2, 0, 0): they differ by (1, -4, -1).
    assert slow(look(images=images)) == pytest.approx(math.sqrt(10) + math.sqrt(18))
    slow.setup.teacher.asked(images)  # nobody watches this one
    assert slow(look(images=images)) == pytest.approx(math.sqrt(10) + math.sqrt(18))


def test_one_hot_is_the_cross_entropy_with_the_own_or_the_drawn_class() -> None:
    seen = look(teacher_logits=rows([math.log(3), 0.0], [0.0, math.log(3)]), wanted=torch.tensor([1, 1]))
    assert make_term("one_hot")(seen) == pytest.approx(math.log(4 / 3))
    drawn = make_term("one_hot", wanted_class="drawn")
    assert drawn(seen) == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


def test_balance_is_minus_the_entropy_of_the_mean_probabilities() -> None:
    assert make_term("balance")(look(teacher_logits=rows([0.0, 0.0]))) == pytest.approx(-LOG2)
    certain = rows([1e3, 0.0], [0.0, 1e3])
    assert make_term("balance")(look(teacher_logits=certain)) == pytest.approx(-LOG2)
    alike = rows([1e3, 0.0], [1e3, 0.0]).requires_grad_()
    value = make_term("balance")(look(teacher_logits=alike))
    assert value.item() == pytest.approx(0)
    value.backward()
    assert alike.grad is not None
    assert alike.grad.isfinite().all()


def test_activation_is_minus_the_mean_absolute_feature() -> None:
    assert make_term("activation")(look(teacher_features=rows([1.0, -3.0], [0.0, 2.0]))) == pytest.approx(-1.5)


def test_total_variation_is_the_sum_of_four_mean_differences() -> None:
    images = torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]], dtype=torch.float64)
    # Below: 2, 4; beside: 1, 3; diagonals: 5 and 1.
    assert make_term("total_variation")(look(images=images)) == pytest.approx(3 + 2 + 5 + 1)


def test_contrastive_is_small_where_close_ups_look_like_their_images_and_nothing_else_does() -> None:
    torch.manual_seed(0)
    plain = torch.rand(8, 3, 1, 1, dtype=torch.float64) * 4 - 2
    images = plain.expand(8, 3, 8, 8).contiguous()  # a close-up of one colour is that colour
    term = make_term("contrastive")
    looks_before = term.setup.teacher.looks
    features = term.setup.teacher.features_of(images)
    value = term(look(images=images, teacher_features=features))
    assert term.setup.teacher.looks - looks_before == 16
    # By hand: the same head's cosines of the same features with themselves.
    (head,) = [part for part in vars(term).values() if isinstance(part, nn.Sequential)]
    outputs = nn.functional.normalize(head(features))
    similar = (outputs @ outputs.T / 0.1).detach()
    expected = -(similar.diagonal() - similar.logsumexp(1)).mean()
    assert value.item() == pytest.approx(expected.item(), abs=1e-9)
    term.call_ended()
    further = term(look(images=images, teacher_features=features))
    assert further.item() == pytest.approx(expected.item() + LOG2, abs=1e-9)  # each has a twin in the bank now


@pytest.mark.parametrize("name", TERMS)
def test_each_term_names_its_equation_or_source(name: str) -> None:
    assert term_description(name)
    text = load(TERMS[name]).__doc__
    assert "al. 20" in " ".join(text.split()) or name == "adversarial"
