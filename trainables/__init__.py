"""Trials of data-free and supervised distillation, in plain torch; only ``ray_trainables`` needs Ray.

Public names are imported on first use, so that reading a config imports neither torch nor ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trainables.compute.compile_cache import keep_compiled_code_private

keep_compiled_code_private()

if TYPE_CHECKING:
    from trainables.config import SupervisedConfig, ZeroShotConfig
    from trainables.config.datasets import DatasetSpec, Normalisation
    from trainables.evaluation import accuracy
    from trainables.images.load import load_dataset
    from trainables.images.splits import DatasetSplits, ImageSet
    from trainables.networks import Network, build_network
    from trainables.networks.generator import Generator
    from trainables.ray_trainables import TrialTrainable
    from trainables.storage.checkpoint import CheckpointStore
    from trainables.storage.object_store import ObjectStore
    from trainables.teachers.registry import TeacherRegistry
    from trainables.teachers.teacher import Teacher
    from trainables.training.distiller import ZeroShotDistiller
    from trainables.training.supervised import SupervisedTrainer

_HOMES = {
    "CheckpointStore": "storage.checkpoint",
    "DatasetSpec": "config.datasets",
    "DatasetSplits": "images.splits",
    "Generator": "networks.generator",
    "ImageSet": "images.splits",
    "Network": "networks",
    "Normalisation": "config.datasets",
    "ObjectStore": "storage.object_store",
    "SupervisedConfig": "config",
    "SupervisedTrainer": "training.supervised",
    "Teacher": "teachers.teacher",
    "TeacherRegistry": "teachers.registry",
    "TrialTrainable": "ray_trainables",
    "ZeroShotConfig": "config",
    "ZeroShotDistiller": "training.distiller",
    "accuracy": "evaluation",
    "build_network": "networks",
    "load_dataset": "images.load",
}
__all__ = [
    "CheckpointStore",
    "DatasetSpec",
    "DatasetSplits",
    "Generator",
    "ImageSet",
    "Network",
    "Normalisation",
    "ObjectStore",
    "SupervisedConfig",
    "SupervisedTrainer",
    "Teacher",
    "TeacherRegistry",
    "TrialTrainable",
    "ZeroShotConfig",
    "ZeroShotDistiller",
    "accuracy",
    "build_network",
    "load_dataset",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"trainables.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'trainables' has no attribute {name!r}")
