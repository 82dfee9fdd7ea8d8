"""The commands: settings in NAME.py, without torch, and their implementation in NAME_run.py."""

from vae3d.runtime.registry import Registry
from vae3d.settings.command import Command

COMMANDS: Registry[Command] = Registry(
    "command",
    {
        "train": "vae3d.commands.train:COMMAND",
        "eval": "vae3d.commands.eval:COMMAND",
        "compare": "vae3d.commands.compare:COMMAND",
        "runs": "vae3d.commands.runs:COMMAND",
        "inspect": "vae3d.commands.inspect:COMMAND",
        "prepare": "vae3d.commands.prepare:COMMAND",
        "verify": "vae3d.commands.verify:COMMAND",
        "info": "vae3d.commands.info:COMMAND",
        "import": "vae3d.commands.import_weights:COMMAND",
        "export": "vae3d.commands.export:COMMAND",
        "encode": "vae3d.commands.encode:COMMAND",
        "probe": "vae3d.commands.probe:COMMAND",
        "decode": "vae3d.commands.decode:COMMAND",
        "reconstruct": "vae3d.commands.reconstruct:COMMAND",
    },
)
"""The commands by name, in the order of `vae3d --help`."""
