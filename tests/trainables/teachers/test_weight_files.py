"""Weights as other codes leave them: found where names and shapes decide, otherwise refused with what the file is."""

from __future__ import annotations

import argparse
import io
import json
import pickle
import tarfile
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.inputs.prepare import in_words
from tests.support.tiny import make_teacher
from trainables.config.datasets import find_spec
from trainables.errors import TeacherError
from trainables.images.splits import DatasetSplits
from trainables.networks import Network, build_network
from trainables.networks.plain import PlainNetwork
from trainables.teachers.published import load_published_checkpoint
from trainables.teachers.teacher import Teacher
from trainables.teachers.weight_files import read_weight_file
from trainables.teachers.weight_layouts import FoundWeights, find_weights

WEIGHTS = dict(make_teacher(seed=3).weights)
OTHERS = dict(make_teacher(seed=4).weights)


class AttributeDict(dict[str, Any]):
    """As hyper-parameters are kept by Lightning and others: items are attributes too."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.__dict__ = self


class Logger:
    """An object that a training code keeps beside its weights."""

    def __init__(self) -> None:
        self.history = [1.0]


def load(path: Path) -> Teacher:
    """Load weights of LeNet, without any image."""
    digits = find_spec("digits")
    return load_published_checkpoint(
        path,
        dataset="digits",
        name="lenet",
        normalisation="digits",
        splits=DatasetSplits.without_images(digits),
    )


def refusal(path: Path) -> str:
    with pytest.raises(TeacherError) as refused:
        load(path)
    message = str(refused.value)
    assert message.startswith(f"teacher_checkpoint={path}")
    assert "\n" not in message and "\x1b" not in message and "weights_only" not in message
    return message.removeprefix(f"teacher_checkpoint={path}").lstrip(": ")


def behind(prefix: str, weights: Mapping[str, Any] = WEIGHTS) -> dict[str, Any]:
    return {prefix + key: value for key, value in weights.items()}


def each(change: Callable[[Tensor], Any]) -> dict[str, Any]:
    return {key: change(value) for key, value in WEIGHTS.items()}


OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(3), "step": torch.tensor(4.0)}}, "param_groups": [{"lr": 0.1}]}

LAYOUTS: dict[str, tuple[Any, str]] = {
    "bare": (WEIGHTS, ""),
    "state_dict": ({"state_dict": WEIGHTS, "epoch": 3, "optimizer": OPTIMIZER}, "weights under state_dict."),
    "net, DataParallel": ({"net": behind("module."), "acc": 97.1, "epoch": 3}, "weights under net.module."),
    "model": ({"model": WEIGHTS, "optimizer": {}, "args": {"lr": 0.1}}, "weights under model."),
    "model_state_dict": ({"model_state_dict": WEIGHTS, "loss": torch.tensor(0.1)}, "weights under model_state_dict."),
    "compiled": (behind("_orig_mod."), "weights under _orig_mod."),
    "compiled, DataParallel": (behind("_orig_mod.module."), "weights under _orig_mod.module."),
    "DataParallel twice": (behind("module.module."), "weights under module.module."),
    "Lightning": (
        {"state_dict": behind("model."), "pytorch-lightning_version": "2", "hyper_parameters": AttributeDict({"a": 1})},
        "weights under state_dict.model.",
    ),
    "Lightning, compiled, with a loss that has weights": (
        {"state_dict": {**behind("model._orig_mod."), "loss.weight": torch.ones(10)}},
        "weights under state_dict.model._orig_mod.",
    ),
    "DataParallel within the network": (
        {key.replace("fc1.", "fc1.module."): value for key, value in WEIGHTS.items()},
        "weights at the top, names of wrappers (module, _orig_mod) left out of the names",
    ),
    "half": (each(Tensor.half), "converted from float16"),
    "bfloat16": ({"net": each(Tensor.bfloat16)}, "weights under net., converted from bfloat16"),
    "double": (each(Tensor.double), "converted from float64"),
    "number of NumPy": ({"state_dict": WEIGHTS, "best_acc1": np.float64(97.1)}, "weights under state_dict."),
    "namespace": ({"state_dict": WEIGHTS, "args": argparse.Namespace(lr=0.1)}, "weights under state_dict."),
    "arrays of NumPy": (each(Tensor.numpy), ""),
    "big-endian arrays, column by column": (
        each(lambda value: np.asfortranarray(value.numpy().astype(">f4"))),
        "",
    ),
    "list": ([WEIGHTS], "weights under 0."),
    "parameters": (each(nn.Parameter), ""),
    "equal average": ({"state_dict": WEIGHTS, "state_dict_ema": each(torch.clone)}, "weights under state_dict."),
    "other average": (
        {"state_dict_ema": OTHERS, "state_dict": WEIGHTS},
        "weights under state_dict., running averages under state_dict_ema. left out",
    ),
    "average alone": ({"state_dict_ema": WEIGHTS}, "weights under state_dict_ema."),
    "two networks": (
        {"netG": behind("", build_network("wrn-10-1", num_classes=10).state_dict()), "netD": WEIGHTS},
        "weights under netD.",
    ),
    "objects of classes that this program has not": (
        {
            "model": WEIGHTS,
            "logger": Logger(),
            "paths": {Path("a")},
            "history": defaultdict(list, a=[1]),
            "kind": Logger,
        },
        "weights under model.",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_weights_are_loaded_where_names_and_shapes_decide(name: str, tmp_path: Path) -> None:
    content, layout = LAYOUTS[name]
    for older in (False, True):
        torch.save(content, tmp_path / "net.pt", _use_new_zipfile_serialization=not older)
        teacher = load(tmp_path / "net.pt")
        assert teacher.layout == layout
        for key, value in WEIGHTS.items():
            tolerance = 0.01 if "float16" in layout else 0
            assert torch.allclose(teacher.weights[key], value, rtol=tolerance, atol=tolerance / 10)
            assert teacher.weights[key].dtype == torch.float32


def test_safetensors_are_told_by_their_content(tmp_path: Path) -> None:
    for name in ("net.safetensors", "net.bin"):
        save_file(behind("model."), tmp_path / name)
        assert load(tmp_path / name).layout == "weights under model."
        cut = (tmp_path / name).read_bytes()[:-100]
        (tmp_path / name).write_bytes(cut)
        assert refusal(tmp_path / name) == "is a safetensors file that is damaged or was cut off: copy it again"


def test_the_layout_is_said_where_a_teacher_is_announced_and_measured(tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    torch.save({"net": behind("module.", each(Tensor.half))}, file)
    words = "weights under net.module., converted from float16)"
    assert in_words(load(file)).endswith(f"; {words}")
    assert "weights" not in in_words(make_teacher())


def test_evaluate_says_the_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "net.pt"
    torch.save({"net": WEIGHTS}, file)
    digits = DatasetSplits.without_images(find_spec("digits"))
    monkeypatch.setattr("orchestrator.commands.evaluate.named_images", lambda *_: ("digits", digits))
    result = CliRunner().invoke(app, ["evaluate", "noise", f"lenet={file}", "--dataset", "digits", "--images", "8"])
    assert result.exit_code == 0, result.output
    assert f"lenet={file}: weights under net.\n" in result.output


def test_two_different_sets_that_fit_are_refused(tmp_path: Path) -> None:
    torch.save({"best": WEIGHTS, "last": OTHERS}, tmp_path / "net.pt")
    assert refusal(tmp_path / "net.pt") == (
        "holds several sets of weights that fit teacher=lenet on digits, under best. and under last.: save the right "
        "ones in a file of their own"
    )
    torch.save({"ema_1": WEIGHTS, "ema_2": OTHERS}, tmp_path / "net.pt")
    assert "under ema_1. and under ema_2." in refusal(tmp_path / "net.pt")


def test_weights_that_do_not_fit_are_told_by_name_behind_the_best_prefix(tmp_path: Path) -> None:
    wrong = behind("module.", {**WEIGHTS, "aux.weight": torch.ones(1), "fc3.weight": torch.ones(7, 84)})
    del wrong["module.conv1.bias"]
    torch.save({"net": wrong, "optimizer": OPTIMIZER}, tmp_path / "net.pt")
    assert refusal(tmp_path / "net.pt") == (
        "does not fit teacher=lenet on digits: under net.module. are 1 tensor missing (conv1.bias), 1 tensor too many "
        "(aux.weight), 1 tensor of another shape or kind (fc3.weight: float32 (7, 84), expected float32 (10, 84))"
    )
    torch.save({**WEIGHTS, "fc3.weight": WEIGHTS["fc3.weight"].to(torch.int8)}, tmp_path / "net.pt")
    assert "(fc3.weight: int8 (10, 84), expected float32 (10, 84))" in refusal(tmp_path / "net.pt")
    torch.save({f"x{key}": value for key, value in WEIGHTS.items()}, tmp_path / "net.pt")
    assert "10 tensors missing (conv1.weight, conv1.bias, conv2.weight, ...), 10 tensors too many" in refusal(
        tmp_path / "net.pt"
    )


class Wrapped(nn.Module):
    """A network whose own attributes bear the names of wrappers."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(4, 10))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(self.module(images))
        return logits


def found_in(content: Any, network: Network, folder: Path) -> FoundWeights:
    torch.save(content, folder / "own.pt")
    return find_weights(read_weight_file(folder / "own.pt", "own.pt"), network, shown="own.pt", subject="teacher=own")


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "net.module.", "_orig_mod.", "module.model.module."])
@pytest.mark.parametrize("keys", ["", "model", "module"])
def test_a_network_may_have_attributes_named_as_wrappers(prefix: str, keys: str, tmp_path: Path) -> None:
    theirs = Wrapped()
    weights = behind(prefix, theirs.state_dict())
    network = PlainNetwork(Wrapped(), image_shape=(1, 32, 32))
    found = found_in({keys: weights} if keys else weights, network, tmp_path)
    network.load_state_dict(found.weights)
    assert all(torch.equal(value, network.body.state_dict()[key]) for key, value in theirs.state_dict().items())
    place = f"{keys}.{prefix}" if keys else prefix
    assert found.layout == (f"weights under {place}" if place else "")


def test_names_in_errors_are_the_classifiers_own(tmp_path: Path) -> None:
    network = PlainNetwork(Wrapped(), image_shape=(1, 32, 32))
    weights = Wrapped().state_dict()
    del weights["model.1.bias"]
    with pytest.raises(TeacherError, match=r"^own.pt does not fit teacher=own: 1 tensor missing \(model.1.bias\)$"):
        found_in(weights, network, tmp_path)


def test_counters_of_batch_norms_may_be_missing_or_too_many(tmp_path: Path) -> None:
    network = build_network("wrn-10-1", num_classes=10)
    weights = network.state_dict()
    counters = [key for key in weights if key.endswith("num_batches_tracked")]
    assert counters
    old = {key: value for key, value in weights.items() if key not in counters}
    found = found_in(old, network, tmp_path)
    network.load_state_dict(found.weights)
    assert not any(found.weights[key] for key in counters)
    kept = found_in({**weights, counters[0]: torch.tensor(7)}, network, tmp_path)
    assert kept.weights[counters[0]] == 7
    more = found_in({**weights, "fc.num_batches_tracked": torch.tensor(7)}, network, tmp_path)
    network.load_state_dict(more.weights)
    del old["bn1.running_mean"]
    with pytest.raises(TeacherError, match=r"1 tensor missing \(bn1.running_mean\)$"):
        found_in(old, network, tmp_path)


FILES = {
    b"": "is empty: copy or download it again",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 248000\n": "is a pointer of Git LFS",
    b"<!DOCTYPE html><html><head><title>Virus scan warning</title></head></html>": "is a web page",
    b"\n <html>": "is a web page",
    b"<?xml version='1.0'?><Error/>": "is a web page",
    json.dumps({"a": 1}).encode(): "is a text file that begins with '{\"a\": 1}', not weights",
    b"\x89HDF\r\n\x1a\n": "is an HDF5 file",
    b"\x1f\x8b\x08\x00": "is compressed by gzip",
    b"\x00\x01\x02\x03 something": "is damaged, or not written by torch.save or safetensors",
    pickle.dumps({"a": 1}): "is damaged, or not written by torch.save or safetensors",
}


@pytest.mark.parametrize("content", FILES)
def test_files_that_hold_no_weights_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(content)
    assert refusal(tmp_path / "net.pt").startswith(FILES[content])


def test_folders_and_archives_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert refusal(tmp_path / "folder") == "is a folder; name a file in it"
    torch.save(WEIGHTS, tmp_path / "net.pt")
    with tarfile.open(tmp_path / "net.tar", "w") as archive:
        archive.add(tmp_path / "net.pt", "net.pt")
    assert refusal(tmp_path / "net.tar") == "is a tar archive: unpack it first"
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive_of_others:
        archive_of_others.write(tmp_path / "net.pt", "net.pt")
    assert refusal(tmp_path / "net.zip") == "is a zip archive that torch.save has not written: unpack it first"
    (tmp_path / "cut.pt").write_bytes((tmp_path / "net.pt").read_bytes()[:-500])
    assert refusal(tmp_path / "cut.pt").startswith("was cut off")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as script:
        for part in ("net/constants.pkl", "net/data.pkl", "net/code/net.py"):
            script.writestr(part, b"")
    assert refusal(tmp_path / "script.pt").startswith("is a TorchScript archive; save its weights alone")


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("within", [False, True])
def test_whole_networks_are_named_with_the_remedy(within: bool, older: bool, tmp_path: Path) -> None:
    network = build_network("lenet", num_classes=10, channels=1)
    content = {"model": network, "optimizer": OPTIMIZER} if within else network
    torch.save(content, tmp_path / "net.pt", _use_new_zipfile_serialization=not older)
    message = refusal(tmp_path / "net.pt")
    assert message.startswith("holds pickled objects of the class trainables.networks.lenet.LeNet and of others (")
    assert message.endswith(
        "save the weights alone: torch.save(model.state_dict(), FILE), or safetensors.torch.save_file"
    )


class Trap:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    functions: list[Callable[..., Any]] = [exec, io.open_code]
    for number, function in enumerate(functions):
        torch.save({"model": WEIGHTS, "trap": Trap(function, str(ran), b"x")}, tmp_path / f"{number}.pt")
        assert load(tmp_path / f"{number}.pt").layout == "weights under model."
    torch.save({"model": WEIGHTS, "trap": Trap(__import__("os").mkdir, str(ran))}, tmp_path / "system.pt")
    assert "posix.mkdir" in refusal(tmp_path / "system.pt")
    torch.save({"model": WEIGHTS, "trap": Trap(ran.write_text, "x")}, tmp_path / "method.pt")
    assert "builtins.getattr" in refusal(tmp_path / "method.pt")
    assert not ran.exists()


def test_arrays_of_objects_are_not_read_as_numbers(tmp_path: Path) -> None:
    content = OrderedDict(each(lambda value: value.numpy().astype(object)))
    torch.save(content, tmp_path / "net.pt")
    assert refusal(tmp_path / "net.pt").startswith("holds pickled objects of the class numpy.")
