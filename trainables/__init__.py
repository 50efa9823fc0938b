"""One trial of zero-shot knowledge transfer, in plain torch but for the Ray wrapper.

Public names are imported on first use, so that reading a config costs neither torch nor ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trainables.cache_folder import keep_compiled_code_private

keep_compiled_code_private()

if TYPE_CHECKING:
    from trainables.checkpoint import CheckpointStore
    from trainables.config import SupervisedConfig, ZeroShotConfig
    from trainables.data import DatasetSplits, ImageSet, load_dataset
    from trainables.distiller import ZeroShotDistiller
    from trainables.evaluation import accuracy
    from trainables.generator import Generator
    from trainables.networks import build_network
    from trainables.object_store import ObjectStore
    from trainables.ray_trainables import TrialTrainable
    from trainables.supervised import SupervisedTrainer
    from trainables.teachers import Teacher, TeacherRegistry

_HOMES = {
    "CheckpointStore": "checkpoint",
    "DatasetSplits": "data",
    "Generator": "generator",
    "ImageSet": "data",
    "ObjectStore": "object_store",
    "SupervisedConfig": "config",
    "Teacher": "teachers",
    "TeacherRegistry": "teachers",
    "ZeroShotConfig": "config",
    "ZeroShotDistiller": "distiller",
    "TrialTrainable": "ray_trainables",
    "accuracy": "evaluation",
    "build_network": "networks",
    "load_dataset": "data",
    "SupervisedTrainer": "supervised",
}
__all__ = [
    "CheckpointStore",
    "DatasetSplits",
    "Generator",
    "ImageSet",
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
