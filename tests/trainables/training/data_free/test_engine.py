"""The engine as a whole: what it has in common with belief matching, resuming, counting, and that no field is idle."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.support.compositions import BASES, CHANGES, COMPOSITIONS, make_config, make_engine
from tests.support.tiny import make_distiller, trained_metrics
from trainables.compute.flops import unit_work
from trainables.config import ZeroShotConfig
from trainables.config.data_free.config import DataFreeConfig
from trainables.networks.generator import Generator
from trainables.storage import checkpoint
from trainables.training.data_free.engine import DataFreeDistiller
from trainables.training.data_free.work import unit_passes

NAMES = list(COMPOSITIONS)


def tensors(state: Any, path: str = "") -> dict[str, Any]:
    """All leaves of a state by their paths, but times."""
    if isinstance(state, checkpoint.Piece):
        return tensors(state.tensors, path)
    if isinstance(state, dict):
        return {name: leaf for key, part in state.items() for name, leaf in tensors(part, f"{path}/{key}").items()}
    return {} if path.endswith("seconds") else {path: state}


def differing(one: DataFreeDistiller, other: DataFreeDistiller) -> list[str]:
    """Paths at which two engines' states differ in a bit."""
    first, second = tensors(one.state_dict()), tensors(other.state_dict())
    assert first.keys() == second.keys()
    return [
        path
        for path, value in first.items()
        if not (torch.equal(value, second[path]) if isinstance(value, Tensor) else value == second[path])
    ]


@pytest.mark.parametrize("numerics", ["exact", "fast"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"latents": "fresh"},
        {"student_batch": "scored"},
        {"generator_steps": 2, "teacher_entropy_weight": 0.1, "diversity_weight": 0.1, "consistency_weight": 0.2},
        {"teacher": "wrn-10-1", "student": "wrn-10-1", "temperature": 4.0, "temperature_factor": "squared"},
    ],
    ids=str,
)
def test_the_papers_four_parts_give_the_states_of_belief_matching(numerics: str, changes: dict[str, Any]) -> None:
    changes = {"numerics": numerics, "total_pseudo_batches": 3, **changes}
    published = make_distiller(dtype=torch.float64, **changes)
    engine = make_engine(dtype=torch.float64, **changes)
    published.train(3)
    while engine.done < 3:
        engine.step()
    for ours, theirs in ((engine.student, published.student), (engine.source.trained()[0], published.generator)):
        assert isinstance(ours, nn.Module)
        for name, value in theirs.state_dict().items():
            assert torch.allclose(ours.state_dict()[name], value, rtol=0, atol=1e-9), name
    assert engine.student_updates == published.student_updates
    if not engine.config.consistency_weight:  # whose further look the published count leaves out
        assert engine.training_flops == published.training_flops
    report, expected = engine.report(), published.report()
    assert report.keys() - expected.keys() == {"teacher_looks", "pool_images"}
    for name, value in expected.items():
        if isinstance(value, float) and not name.endswith("seconds") and name != "training_flops":
            assert report[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("name", NAMES)
def test_a_trial_goes_on_bit_for_bit_between_any_two_parts_of_a_call(name: str) -> None:
    undisturbed = make_engine(**COMPOSITIONS[name])
    states = []
    while not undisturbed.finished and undisturbed.done < undisturbed.config.budget:
        states.append(checkpoint.dump(undisturbed.state_dict()))
        undisturbed.step()
        if undisturbed.done == 2 and undisturbed.last_report is None:
            undisturbed.report()
    undisturbed.report()
    calls = undisturbed.config.generator_steps + 1 + undisturbed.config.student_steps
    assert len(states) > 2 * calls
    for number, state in enumerate(states):
        continued = make_engine(**COMPOSITIONS[name])
        continued.load_state_dict(checkpoint.parse(state, origin="test"))
        while continued.done < continued.config.budget:
            continued.step()
            if continued.done == 2 and continued.last_report is None:
                continued.report()
        continued.report()
        assert differing(continued, undisturbed) == [], f"from part {number}"


@pytest.mark.parametrize("name", NAMES)
def test_operations_are_those_that_are_computed(name: str) -> None:
    changes = {"gate_threshold": 0.0, **COMPOSITIONS[name], "total_pseudo_batches": 4}
    if changes.get("gate"):
        changes["gate"] = "confident"  # which lets all pass at 0
    engine = make_engine(**changes)
    generators = [module for network in engine.source.trained() for module in network.modules()]
    for generator in generators:
        if isinstance(generator, Generator):
            generator.fused_upsampling = False  # saves operations that are counted all the same
    with FlopCounterMode(display=False) as counter:
        while engine.done < engine.config.budget:
            engine.step()
    head = engine.loss.terms.get("contrastive")
    counted = counter.get_total_flops()
    assert engine.training_flops == pytest.approx(engine.config.budget * unit_work(engine.config).flops, rel=1e-9)
    if head is None:
        # A backward pass is counted whole; torch leaves out a first layer's gradient that nobody asks for, 4 % of a LeNet.
        assert counted <= engine.training_flops <= 1.05 * counted
    assert engine.report()["teacher_looks"] == pytest.approx(_looks(engine))


def _looks(engine: DataFreeDistiller) -> float:
    """Images that the teacher looks at, from passes: those of the source's updates count there and back."""
    config = engine.config
    updates = config.generator_steps * config.source_images * (1 + bool(config.term_weights["contrastive"]))
    updates += config.generator_steps * config.source_images * (config.consistency_weight > 0)
    passes = unit_passes(config).teacher * config.batch_size
    return float(config.budget * (passes - updates))


@pytest.mark.parametrize("name", NAMES)
def test_reports_have_every_metric_of_the_method(name: str) -> None:
    engine = make_engine(**COMPOSITIONS[name])
    assert engine.advance().keys() == trained_metrics("data_free") | trained_metrics("zero_shot")


def test_no_report_falls_into_the_warm_up() -> None:
    engine = make_engine(total_pseudo_batches=10, evaluation_interval=2, warmup_share=0.4)
    places = []
    while not engine.finished:
        report = engine.advance()
        places.append((report["pseudo_batches"], report["student_updates"]))
    assert places == [(6, 4), (8, 8), (10, 12)]
    assert engine.config.reports == 3
    assert engine.config.student_updates_per_unit == pytest.approx(1.2)


def test_every_field_of_its_own_is_tried() -> None:
    assert set(CHANGES) == DataFreeConfig.model_fields.keys() - (ZeroShotConfig.model_fields.keys() - {"student_batch"})


@pytest.mark.parametrize("field", CHANGES)
def test_no_knob_is_dead(field: str) -> None:
    def run(**changes: Any) -> dict[str, Any]:
        engine = make_engine(**{**BASES.get(field, {}), **changes})
        engine.advance()
        state = tensors(engine.state_dict())
        return {path: value for path, value in state.items() if not path.startswith("/config")}

    def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
        return one.keys() == other.keys() and all(
            torch.equal(value, other[path]) if isinstance(value, Tensor) else value == other[path]
            for path, value in one.items()
        )

    base = run()
    assert not equal(base, run(**{field: CHANGES[field]}))
    assert equal(base, run()), "the comparison itself is not repeatable"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pool": "all", "pool_precision": "uint8"}, "generator_output=sigmoid"),
        ({"adversarial_weight": 0.0}, "no loss"),
        ({"student_nesterov": True}, "student_optimizer=sgd"),
        ({"source": "pixels", "latents": "fresh"}, "latents"),
        ({"class_conditional": True}, "wanted_class=drawn"),
        ({"numerics": "exact", "source": "pixels"}, "numerics=exact"),
        ({"latent_lr": 0.1}, "latent_lr has no effect"),
        ({"gate": "confident", "latents": "fresh"}, "needs latents=shared"),
        ({"source": "sauce"}, "unknown source 'sauce'; known: generator, meta_generator, pixels"),
        ({"batch_norm_weight": -1.0}, "greater than or equal to 0"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused_with_what_to_do(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make_config(**changes)


def test_a_source_of_ones_own_without_latents_is_refused_where_fresh_ones_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from trainables.training.data_free.sources.pixels import Pixels\n\n\nclass Mine(Pixels):\n    pass\n"
    )
    with pytest.raises(ValueError, match=r"mine.py:Mine has no latents; allowed: latents=shared"):
        make_engine(source=f"{tmp_path}/mine.py:Mine", latents="fresh")


def test_a_teacher_without_batch_norm_is_refused_where_its_statistics_are_wanted() -> None:
    with pytest.raises(ValueError, match="batch_norm_weight=1: lenet has no BatchNorm"):
        make_engine(batch_norm_weight=1.0)


def test_a_gate_that_lets_none_pass_leaves_the_student_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "gates.py").write_text(
        "def closed(judged):\n    return judged.teacher_logits[:, 0] > 1e9\n\n\n"
        "def vague(judged):\n    return judged.teacher_logits\n"
    )
    for pool in ("none", "all"):
        engine = make_engine(gate=f"{tmp_path}/gates.py:closed", pool=pool, generator_output="sigmoid")
        before = {name: value.clone() for name, value in engine.student.state_dict().items()}
        engine.step()
        while engine.done < 2:
            engine.step()
        assert engine.student_updates == 0
        weights = dict(engine.student.named_parameters())
        assert all(torch.equal(before[name], weight) for name, weight in weights.items())
    vague = make_engine(gate=f"{tmp_path}/gates.py:vague")
    vague.step()
    with pytest.raises(ValueError, match=r"gate=.*vague: expected true or false for each of 4 images"):
        vague.step()


@pytest.mark.parametrize("choice", ["best", "scored"])
def test_images_of_a_pool_are_those_that_the_teacher_answered_for(choice: str) -> None:
    engine = make_engine(
        source="pixels",
        generator_steps=3,
        generator_lr=0.5,
        student_batch=choice,
        pool="all",
        pool_views=1,
        pool_precision="float32",
        view="none",
        dtype=torch.float64,
    )
    while engine.done < 1:
        engine.step()
    batch = engine.handover.student_batch()
    assert batch is not None
    images, targets = batch
    assert torch.allclose(engine.parts.matching.teacher_targets(images).logits, targets.logits, atol=1e-5)


def test_terms_leave_nothing_behind_that_a_copy_of_the_teacher_would_take_along() -> None:
    changes: dict[str, Any] = {
        "teacher": "wrn-10-1",
        "attention_weight": 0.0,
        "batch_norm_weight": 1.0,
        "diversity_weight": 0.1,
    }
    engine = make_engine(**changes)
    engine.step()
    copied = copy.deepcopy(engine.teacher)
    assert not any(module._forward_pre_hooks for module in copied.modules())


def test_a_term_of_ones_own_sees_the_features_of_the_images_and_not_of_close_ups(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def mine(seen):\n    return seen.teacher_features.mean()\n")
    losses = []
    for next_to_nothing in (0.0, 1e-30):  # of the term whose further look shows the teacher close-ups
        engine = make_engine(
            generator_term=f"{tmp_path}/mine.py:mine", contrastive_weight=next_to_nothing, dtype=torch.float64
        )
        engine.loss.begin(engine.source)
        losses.append(engine.loss(engine.source.images(), early=False)[0].item())
    assert losses[0] == losses[1] != 0


def test_the_teacher_never_moves_and_the_average_is_what_is_measured() -> None:
    engine = make_engine(**COMPOSITIONS["generator told the class, answers kept, average"])
    before = {name: value.clone() for name, value in engine.teacher.state_dict().items()}
    engine.advance()
    assert all(torch.equal(before[name], value) for name, value in engine.teacher.state_dict().items())
    assert engine.student is not engine.learner
    weights, averaged = engine.learner.state_dict(), engine.student.state_dict()
    assert any(not torch.equal(weights[name], averaged[name]) for name in weights)
