"""Ids of sweeps stay: whoever gives the same command again means the sweep that lies on the storage."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.config.loading import load_sweep
from search_spaces.presets import preset_names
from tests.support.permission_fields import RUN_OTHERWISE

IDS = {
    "cifar10-published": "cifar10-published-bf9f65f9",
    "cmi": "cmi-d83d55c2",
    "dafl": "dafl-69538f4d",
    "data-free-selection": "data-free-selection-58bfb902",
    "data-free-selection-batchnorm": "data-free-selection-batchnorm-5a3462be",
    "data-free-selection-cifar10": "data-free-selection-cifar10-353bcf6d",
    "data-free-selection-fashion": "data-free-selection-fashion-cb6c4bb1",
    "deep-inversion": "deep-inversion-3d5f230e",
    "dfad": "dfad-13f54a33",
    "dfq": "dfq-99474d62",
    "digits-table-1": "digits-table-1-85e2ddb4",
    "fast-10": "fast-10-09e2fb24",
    "fast-2": "fast-2-381b42d4",
    "frugal-cifar10": "frugal-cifar10-ac88617b",
    "frugal-digits": "frugal-digits-829732fe",
    "frugal-digits-search": "frugal-digits-search-f301d593",
    "loop-variants": "loop-variants-306f1cf5",
    "numerics-cifar10": "numerics-cifar10-18d69739",
    "numerics-digits": "numerics-digits-13b84856",
    "paper-attention-ablation": "paper-attention-ablation-5217479f",
    "paper-divergences": "paper-divergences-a508be88",
    "paper-figure-2": "paper-figure-2-ad529307",
    "paper-figure-2-svhn": "paper-figure-2-svhn-ebd6db81",
    "paper-figure-4": "paper-figure-4-1acfcbb1",
    "paper-figure-4-svhn": "paper-figure-4-svhn-7cce7a44",
    "paper-generator-losses": "paper-generator-losses-ccec93cf",
    "paper-kd-at": "paper-kd-at-31ca6967",
    "paper-robustness": "paper-robustness-0887bc25",
    "paper-scratch": "paper-scratch-56e8af68",
    "paper-svhn": "paper-svhn-ee60f50a",
    "paper-table-1": "paper-table-1-73b98cf9",
    "quickstart": "quickstart-c20469bd",
    "quickstart-zero-shot": "quickstart-zero-shot-2d0e968a",
    "step-ratio-temperature": "step-ratio-temperature-89b72326",
}
"""Of each preset as it is run without flags. A change here loses the sweeps that users have begun."""


def test_every_preset_is_listed() -> None:
    assert sorted(IDS) == sorted(preset_names())


@pytest.mark.parametrize("preset", IDS)
def test_a_preset_is_the_sweep_that_it_was(preset: str) -> None:
    assert load_sweep(preset).default_sweep_id == IDS[preset]


@pytest.mark.parametrize("field", RUN_OTHERWISE)
def test_a_sweep_that_is_run_otherwise_is_the_same_one(field: str) -> None:
    sweep = load_sweep("quickstart", flags={field: RUN_OTHERWISE[field]})
    assert sweep.model_dump() != load_sweep("quickstart").model_dump() or field == "notify", "the field is a dead one"
    assert sweep.default_sweep_id == IDS["quickstart"]


def test_more_seeds_or_fewer_cases_extend_the_same_sweep() -> None:
    sweep = load_sweep("paper-table-1", flags={"seeds": [0, 1, 2, 3]})
    some = load_sweep("paper-table-1", flags={"only": list(sweep.cases)[:1]})
    assert {sweep.default_sweep_id, some.default_sweep_id} == {IDS["paper-table-1"]}


@pytest.mark.parametrize(
    ("flags", "digest"),
    [
        ({"scale": 0.5}, "cfa96984"),
        ({"seed": 3}, "d7325358"),
        ({"objective": "test_accuracy", "allow_test_selection": True}, "7d64af5d"),
        ({"allow_test_selection": True}, "02751e3c"),
        ({"teacher_recipe": {"full_data_epochs": 3}}, "0e9cd390"),
        ({"warm_start": ["a"]}, "28cfd507"),
        ({"constraints": {"training_flops": {"at_most": 1e15}}}, "8d4a77c8"),
        ({"further_objectives": {"training_flops": "min"}}, "21cd64cc"),
        ({"budget": {"unit": "student_updates", "amount": 100, "usd": 3.0}}, "a5e74fb2"),
    ],
)
def test_a_sweep_with_other_numbers_has_the_id_that_it_always_had(flags: dict[str, Any], digest: str) -> None:
    assert load_sweep("quickstart", flags=flags).default_sweep_id == f"quickstart-{digest}"


def test_a_field_of_the_trial_gives_another_id() -> None:
    assert load_sweep("quickstart", assignments=["student_lr=0.01"]).default_sweep_id == "quickstart-e7ee71dc"
