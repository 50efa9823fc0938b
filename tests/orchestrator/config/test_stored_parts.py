"""What a session wrote down is read whatever has become of the parts that it names, and new input is refused in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.providers.registry import all_providers, provider_of
from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError
from orchestrator.results.records import Settings
from tests.support.own_parts import METHOD, METRICS, SPACE
from tests.support.tiny import make_distiller, tiny_settings
from trainables.config import ZeroShotConfig
from trainables.config.plugins import STORED, Registry, check_in_file
from trainables.system import own_files
from trainables.training import reports

LEARNING = {"student": "lenet", "teacher": None, "images_per_class": 5, "batch_size": 8}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(METHOD + METRICS)
    monkeypatch.chdir(tmp_path)
    forget_files()
    return tmp_path


def forget_files() -> None:
    """Do as another process would."""
    own_files.forget()


@pytest.mark.parametrize(
    "changes",
    [
        {"trial": tiny_settings(dataset="mine.py:dots", normalisation=None)},
        {
            "trial": tiny_settings(dataset="mine.py:dots", normalisation=None, audited=True),
            "objective": "test_accuracy",
            "allow_test_selection": True,
            "teacher_recipe": {"images_per_class": 5},
        },
    ],
    ids=["default objective", "few-shot teacher"],
)
def test_a_stored_sweep_needs_no_data_set_of_a_file(changes: dict[str, Any], home: Path) -> None:
    content = {"name": "a", "space": SPACE, **changes}
    content["trial"] = {name: value for name, value in content["trial"].items() if name not in SPACE}
    text = SweepConfig.model_validate(content).model_dump_json()
    (home / "mine.py").unlink()
    forget_files()
    assert SweepConfig.stored(text).trial["dataset"] == "mine.py:dots"


def test_a_stored_sweep_is_read_after_its_methods_file_was_changed(home: Path) -> None:
    trial = {**LEARNING, "dataset": "digits", "method": "mine.py:AVERAGED", "decay": 0.5}
    text = SweepConfig.model_validate({"name": "a", "trial": trial, "space": {}, "num_trials": 1}).model_dump_json()
    (home / "mine.py").write_text(METHOD.replace("decay", "rate"))
    forget_files()
    assert SweepConfig.stored(text).configs()[0].method == "mine.py:AVERAGED"


@pytest.mark.parametrize("method", [None, 5, "zero"])
def test_a_method_that_is_none_is_refused_in_a_line(method: object) -> None:
    with pytest.raises(ConfigError, match=r"method=.*unknown; allowed: zero_shot, data_free, supervised"):
        SweepConfig.model_validate({"name": "a", "trial": {"method": method}, "space": SPACE}).configs()


@pytest.mark.parametrize("name", [None, 5, "nimbus"])
def test_a_cloud_that_is_none_is_one_of_which_nothing_is_known(name: object) -> None:
    assert provider_of({"provider": {"type": name}}).running_description() is not None


def test_a_package_that_does_not_load_is_named_by_who_asks_for_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        value = "gone:Cloud"

        def load(self) -> object:
            raise ModuleNotFoundError("No module named 'gone'")

    for module in ("trainables.config.plugins", "cluster.providers.registry"):
        monkeypatch.setattr(f"{module}.installed", lambda group: {"nimbus": Broken()})
    assert "nimbus" not in all_providers()
    registry = Registry(what="provider", group="zskt.providers", own={})
    with pytest.raises(ValueError, match=r"provider nimbus \(gone:Cloud\) cannot be loaded: ModuleNotFoundError"):
        registry.load("nimbus")


def test_the_scheduler_called_none_can_be_set() -> None:
    assert load_sweep("quickstart", assignments=["scheduler.name=none"]).scheduler.name == "none"


def test_fields_that_are_searched_are_those_of_the_method_that_is_set() -> None:
    with pytest.raises(ConfigError, match="unknown field 'total_pseudo_batches'"):
        load_sweep("quickstart", assignments=["method=supervised"], search=["total_pseudo_batches=1,5"])


def test_a_terms_weight_without_a_term_is_refused_and_read() -> None:
    with pytest.raises(ValueError, match="generator_term_weight=3 has no effect"):
        ZeroShotConfig(generator_term_weight=3)
    ZeroShotConfig.model_validate({"generator_term_weight": 3}, context=STORED)


def test_a_term_of_ones_own_needs_no_linear_layer(home: Path) -> None:
    (home / "mine.py").write_text(
        "from torch import nn\n\n"
        "def bright(seen):\n    return seen.images.mean()\n\n"
        "def flat(num_classes, channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, num_classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    forget_files()
    pair: dict[str, Any] = {"teacher": "mine.py:flat", "student": "mine.py:flat", "attention_weight": 0.0}
    make_distiller(**pair, generator_term="mine.py:bright").step()
    with pytest.raises(ValueError, match="has no linear layer whose inputs could be compared"):
        make_distiller(**pair, diversity_weight=0.5)


def test_a_field_of_ones_own_method_without_a_column_was_not_given() -> None:
    assert Settings({"decay": 0.5})["rate"] is None


def test_memory_that_a_metric_of_ones_own_lacks_is_no_fault_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def big(training: object) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Registry, "load", lambda self, name: big)
    with pytest.raises(torch.OutOfMemoryError):
        reports._own("m.py:big", make_distiller())


@pytest.mark.parametrize(
    "text",
    [
        "if True:\n    def f():\n        pass\n",
        "try:\n    from json import dumps as f\nexcept ImportError:\n    f = None\n",
        "g, f = 1, 2\n",
        "import json as f\n",
        "with open(__file__):\n    f: int = 1\n",
    ],
)
def test_what_a_file_defines_is_found_wherever_it_stands(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text)
    check_in_file("part", f"{tmp_path / 'mine.py'}:f")


def test_what_stands_within_a_function_is_not_what_a_file_defines(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def g():\n    f = 1\n")
    with pytest.raises(ValueError, match="defines no f"):
        check_in_file("part", f"{tmp_path / 'mine.py'}:f")


def test_a_metric_of_this_project_is_measured_anyway() -> None:
    with pytest.raises(ValueError, match="test_accuracy is measured anyway; leave it out"):
        ZeroShotConfig(metrics="test_accuracy")
