"""A catalog with three commands and a handful of keys, for the tests of completion."""

from collections.abc import Mapping, Sequence

from vae3d.cli.catalog import FILES, FOLDERS

Keys = Mapping[str, tuple[str, tuple[str, ...]]]


class Small:
    """What `vae3d completion` knows in these tests."""

    def commands(self) -> Mapping[str, str]:
        return {
            "train": "train: a VAE",
            "eval": "score a run",
            "compare": "score two",
            "completion": "",
        }

    def groups(self, command: str) -> Mapping[str, Mapping[str, str]]:
        if command != "train":
            return {}
        data = {"ct": "CT: in HU", "custom": "any"}
        return {"data": data, "trainer": {"default": "", "debug": ""}}

    def keys(self, command: str, typed: Sequence[str]) -> Keys:
        if command != "train":
            return {"run": ("the run", (FOLDERS,)), "mode": ("how", ("full", "patch"))}
        of_ct = {"data.root": ("a folder", (FOLDERS,)), "data.store": ("", ("auto", FOLDERS))}
        return {
            "name": ("of the run", ()),
            "trainer.lr": ("learning rate", ()),
            "trainer.ema": ("keep an average", ("true", "false")),
            "trainer.scores": ("shown", ("psnr", "ssim")),
            "like": ("a file", (FILES,)),
            **(of_ct if "data=ct" in typed else {}),
        }
