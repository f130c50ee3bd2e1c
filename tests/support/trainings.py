"""Trainings by functions of the user's, on a dataset that tests share."""

from pathlib import Path
from typing import Any

from aesthetics_ops.store import Store, open_store
from aesthetics_ops.training.stage import Training, assign, train_version
from aesthetics_ops.training_settings import TrainingSettings, training_settings

__all__ = ["FAULTY", "Place"]

FAULTY = "tests.support.faulty_trainers"


class Place:
    """A dataset with votes, and a folder of one's own for what is trained on it."""

    def __init__(self, dataset: str, root: Path) -> None:
        self.dataset, self.root = dataset, root
        self.store: Store = open_store(dataset)

    def settings(self, name: str, **options: Any) -> TrainingSettings:
        values = {"train": f"{FAULTY}:{name}", "options": options, "url": self.root.as_uri()}
        return training_settings(values, self.dataset, "here")

    def train(self, name: str, **options: Any) -> Training:
        settings = self.settings(name, **options)
        return train_version(assign(self.store, None, settings), settings, run="r")

    def files(self) -> list[str]:
        return sorted(path.name for path in self.root.rglob("*") if path.is_file())
