"""`RunFolder`: where everything of one training lives."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """The places inside `runs/<name>`."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings of the run."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """Losses and scores, one row a log."""
        return self.path / "metrics.csv"

    @property
    def summary(self) -> Path:
        """What the finished training reached."""
        return self.path / "summary.json"

    @property
    def checkpoints(self) -> Path:
        """Whole training states, one folder a step."""
        return self.path / "checkpoints"

    def weights(self, which: str) -> Path:
        """The model alone: `best` by the validation score, or `latest`."""
        return self.path / "weights" / which

    def report(self, name: str) -> Path:
        """Scores and pictures of one evaluation."""
        return self.path / "report" / name
