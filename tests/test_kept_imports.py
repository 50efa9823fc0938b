"""Imports that docs have shown go on working, wherever their definitions lie now."""

from __future__ import annotations

import subprocess
import sys

import pytest

SHOWN = {
    "cluster": [],
    "orchestrator.cli": ["main"],
    "orchestrator.config": ["SweepConfig"],
    "orchestrator.report": ["make_report", "report_figures", "write_report"],
    "orchestrator.results": [
        "read",
        "read_reports",
        "read_sweeps",
        "read_trials",
        "reports_frame",
        "sweeps_frame",
        "trials_frame",
    ],
    "orchestrator.storage": ["find_storage", "open_storage"],
    "search_spaces": ["resolve_space"],
    "trainables": [
        "CheckpointStore",
        "DatasetSpec",
        "Network",
        "Normalisation",
        "ObjectStore",
        "TrialTrainable",
        "ZeroShotConfig",
        "ZeroShotDistiller",
        "load_dataset",
    ],
    "trainables.checkpoint": ["CheckpointStore", "parse"],
    "trainables.config": ["SupervisedConfig", "ZeroShotConfig"],
    "trainables.datasets": ["DatasetSpec", "Normalisation"],
    "trainables.evaluation": ["accuracy"],
    "trainables.losses": ["kl_divergence", "log_probabilities"],
    "trainables.networks": ["Network", "build_network"],
    "trainables.seeding": ["seeded_initialisation", "stream"],
}


@pytest.mark.parametrize("module", sorted(SHOWN))
def test_what_docs_have_shown_is_importable_in_a_new_process(module: str) -> None:
    names = ", ".join(SHOWN[module])
    statement = f"from {module} import {names}" if names else f"import {module}"
    subprocess.run([sys.executable, "-c", statement], check=True)
