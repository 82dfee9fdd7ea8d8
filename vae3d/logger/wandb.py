"""Weights & Biases: a server that is offline or fails never stops a training."""

import contextlib
import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vae3d.files.atomic import file_digest, target_of, write_text
from vae3d.files.reading import read_text
from vae3d.files.sole_writer import sole_writer_of_file
from vae3d.logger.base import Image, Logger, Scores
from vae3d.logger.config import WandbConfig

log = logging.getLogger(__name__)


class WandbLogger(Logger):
    """Logs scores, pictures, videos, tables and files; a failure logs a warning and ends it."""

    def __init__(
        self, config: WandbConfig, folder: Path, name: str, run_config: dict[str, Any]
    ) -> None:
        # Importing wandb takes a second, for which only its users should wait.
        import wandb

        self.wandb = wandb
        self.config = config
        self.folder = folder
        self.run: Any = None
        self.silenced = False
        self._guard(lambda: self._start(name, run_config))

    def log(self, step: int, scores: Scores, split: str = "train") -> None:
        """Log scores under their split."""
        named = {f"{split}/{key}": value for key, value in scores.items()}
        self._log(step, lambda: named)

    def log_image(self, step: int, name: str, image: Image) -> None:
        """Upload a picture."""
        self._log(step, lambda: {f"planes/{name}": self.wandb.Image(image)})

    def log_video(self, step: int, name: str, path: Path) -> None:
        """Upload a video."""
        if not path.is_file():
            log.warning(f"wandb: no video at {path.name}, logging continues")
            return
        suffix: Any = path.suffix.lstrip(".")
        self._log(step, lambda: {f"scroll/{name}": self.wandb.Video(str(path), format=suffix)})

    def log_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        """Upload a table."""

        def make() -> dict[str, Any]:
            return {
                name: self.wandb.Table(columns=list(columns), data=[list(row) for row in rows])
            }

        self._guard(lambda: self.run.log(make()))

    def log_file(self, name: str, path: Path) -> None:
        """Log a file as an artifact of type `report`; an HTML page is also shown with the run."""
        if not path.is_file():
            log.warning(f"wandb: no file at {path.name}, logging continues")
            return

        def act() -> None:
            copy = self._copy_report(path)
            if path.suffix == ".html":
                self.run.log({name: self.wandb.Html(str(copy), inject=False)})
            stem = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
            artifact = self.wandb.Artifact(f"{stem[:64]}-{self.run.id}", type="report")
            artifact.add_file(str(copy), policy="immutable", skip_cache=True)
            self.run.log_artifact(artifact)

        self._guard(act)

    def close(self, failed: bool = False) -> None:
        """Finish the wandb run."""
        self._guard(lambda: self.run.finish(exit_code=int(failed)))
        self.silenced = True

    def _copy_report(self, path: Path) -> Path:
        # W&B uploads in the background and a later report replaces the file: log a copy of it.
        # W&B's own copy would be in the home folder.
        folder = self.folder / "wandb" / "reports" / file_digest(path)[:12]
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(path, folder / path.name))

    def _log(self, step: int, make: Callable[[], dict[str, Any]]) -> None:
        self._guard(lambda: self.run.log({"trainer/step": step, **make()}))

    def _start(self, name: str, run_config: dict[str, Any]) -> None:
        mode = os.environ.get("WANDB_MODE") or "online"
        try:
            # Without a key wandb would ask for one on the terminal.
            if mode == "online" and not self.wandb.login(prompt=False):
                mode = "offline"
            self.run = self._init(mode, name, run_config)
        except Exception as error:
            log.warning(f"wandb: no connection ({type(error).__name__}), logging offline")
            mode = "offline"
            self.run = self._init(mode, name, run_config)
        if mode == "offline":
            log.info(f"wandb: offline; send it later with: wandb sync {Path(self.run.dir).parent}")
        self.run.define_metric("trainer/step")
        self.run.define_metric("*", step_metric="trainer/step")

    def _init(self, mode: str, name: str, run_config: dict[str, Any]) -> Any:
        settings = self.wandb.Settings(
            init_timeout=self.config.init_timeout,
            console="off",
            disable_git=True,
            disable_code=True,
            silent=True,
        )
        return self.wandb.init(
            project=self.config.project,
            entity=self.config.entity,
            group=self.config.group,
            tags=self.config.tags,
            name=name,
            id=self._run_id(),
            resume="allow" if mode == "online" else None,
            dir=str(self.folder),
            config=run_config,
            mode=mode,  # type: ignore[arg-type]
            settings=settings,
        )

    def _run_id(self) -> str:
        # One run folder is one W&B run, also after an interruption or if the folder was moved.
        path = self.folder / "wandb" / "run_id"
        leftover = any(target_of(entry) == path.name for entry in path.parent.glob(".*"))
        if leftover or not path.is_file():
            # Two evaluations of one run may begin at the same moment.
            with sole_writer_of_file(path, wait=True):
                if not path.is_file():
                    write_text(path, uuid.uuid4().hex[:12])
        return read_text(path, 2**10).strip()

    def _guard(self, act: Callable[[], None]) -> None:
        try:
            if not self.silenced:
                act()
        except Exception as error:
            log.warning(
                f"wandb: stopped logging ({type(error).__name__}: {error}); training continues"
            )
            self.silenced = True
            if isinstance(error, ConnectionError):
                self._forget_service()

    def _forget_service(self) -> None:
        # Its process died: W&B's own cleanup at exit would end in a traceback.
        with contextlib.suppress(Exception, SystemExit):
            self.wandb.teardown()
