"""The recipes of CONTRIBUTING.md add what they promise, followed in a copy of the package."""

import multiprocessing
import os
import runpy
import shutil
import sys
import warnings
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, with its option files, to be changed."""
    copy = tmp_path / "copy" / "vae3d"
    shutil.copytree(ROOT / "vae3d", copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "conf", copy / "conf")
    return copy


def append(path: Path, text: str) -> None:
    path.write_text(f"{path.read_text()}\n\n{text}")


def add_to_table(path: Path, table: str, line: str) -> None:
    """Adds a line at the head of a table."""
    head, name, tail = path.read_text().partition(f"\n{table}: ")
    assert name, f"{path} has no table {table}"
    opening, brace, entries = tail.partition("{\n")
    path.write_text(f"{head}{name}{opening}{brace}        {line}\n{entries}")


def run_in(package: Path, script: str) -> str:
    """Runs a script with a copy of the package, in a fork of this process, which has torch."""
    place = package.parent / "script.py"
    place.write_text(script)
    with warnings.catch_warnings():
        # Python warns of locks that other threads hold; there are none.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = multiprocessing.get_context("fork").Process(target=_run, args=(package, place))
        process.start()
    process.join(60)
    output = place.with_suffix(".out").read_text()
    assert process.exitcode == 0, output
    return output


def _run(package: Path, script: Path) -> None:
    output = script.with_suffix(".out").open("w")
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    sys.stdout = sys.stderr = output
    for name in [name for name in sys.modules if name.split(".")[0] == "vae3d"]:
        del sys.modules[name]
    sys.path.insert(0, str(package.parent))
    runpy.run_path(str(script), run_name="__main__")
    output.flush()


def test_a_loss(package: Path) -> None:
    append(
        package / "loss/pointwise.py",
        "def cubic(reconstruction: Tensor, image: Tensor) -> Tensor:\n"
        "    return (reconstruction - image).abs().pow(3).flatten(1).mean(dim=1)\n",
    )
    add_to_table(package / "loss/config.py", "LOSSES", '"cubic": "vae3d.loss.pointwise:cubic",')
    output = run_in(
        package,
        "import torch\n"
        "from vae3d.cli.compose import composed\n"
        "from vae3d.cli.line import Line\n"
        "from vae3d.commands import COMMANDS\n"
        "from vae3d.loss.config import LOSSES\n"
        "line = Line.of(COMMANDS['train'], ['loss.terms.cubic=2'])\n"
        "assert composed('train', *line.overrides).loss.terms['cubic'] == 2\n"
        "print(LOSSES['cubic'](torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 2.0)).tolist())",
    )
    assert output == "[8.0, 8.0]\n"


def test_a_metric(package: Path) -> None:
    append(
        package / "scoring/metrics.py",
        'DOUBLE_MAE = Metric(lambda e, s: 2 * e.absolute * s.scan, "{unit}")\n',
    )
    add_to_table(
        package / "scoring/config.py", "METRICS", '"double_mae": f"{_METRICS}:DOUBLE_MAE",'
    )
    output = run_in(
        package,
        "from vae3d.cli.compose import composed\n"
        "from vae3d.scoring.measure import Errors\n"
        "from vae3d.scoring.metrics import Scale\n"
        "from vae3d.scoring.scores import scored\n"
        "names = composed('eval', 'evaluation.metrics=[double_mae]').evaluation.metrics\n"
        "print(scored(names, Errors(voxels=1, absolute=0.5, squared=0.25), Scale(2000)))",
    )
    assert output == "{'double_mae': 1000.0}\n"


def test_a_scan_format(package: Path) -> None:
    (package / "scans/text.py").write_text(
        '"""Images as text, one row a line."""\n\n'
        "import numpy as np\n"
        "import torch\n\n"
        "from vae3d.files.atomic import atomic_write\n"
        "from vae3d.scans.volume import Volume\n\n\n"
        "def read_text(path, *, channel, case_id):\n"
        "    pixels = np.loadtxt(path, dtype=np.float32, ndmin=2)\n"
        "    return Volume(torch.from_numpy(pixels)[None], np.eye(3), case_id)\n\n\n"
        "def write_text(path, volume, dtype):\n"
        "    with atomic_write(path) as temporary:\n"
        "        np.savetxt(temporary, volume.data[0].numpy())\n"
    )
    add_to_table(
        package / "scans/formats.py",
        "FORMATS",
        '".txt": Format((2,), "vae3d.scans.text:read_text", "vae3d.scans.text:write_text", '
        '("float32",)),',
    )
    output = run_in(
        package,
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from vae3d.data.config import Images2DConfig\n"
        "from vae3d.data.scan_source import ScanSource\n"
        "from vae3d.scans.files import read_volume, write_volume\n"
        "Path('scans').mkdir()\n"
        "Path('scans/a.txt').write_text('1 2\\n3 4\\n')\n"
        "volume = ScanSource(Images2DConfig(root='scans', window=(0, 9))).read(0)\n"
        "write_volume(volume, Path('b.txt'))\n"
        "print(read_volume('b.txt').data.tolist(), volume.case_id)",
    )
    assert output == "[[[1.0, 2.0], [3.0, 4.0]]] a\n"


def test_a_command(package: Path) -> None:
    (package / "commands/greet.py").write_text(
        '"""The settings, examples and summary of `vae3d greet`."""\n\n'
        "from dataclasses import dataclass\n"
        "from typing import Annotated\n\n"
        "from vae3d.bounds import AtLeast, Settings\n"
        "from vae3d.settings.command import Command\n\n\n"
        "@dataclass\n"
        "class GreetConfig(Settings):\n"
        '    """The settings of a greeting."""\n\n'
        "    times: Annotated[int, AtLeast(1)] = 1\n"
        '    """How often."""\n\n\n'
        "COMMAND = Command(\n"
        '    name="greet",\n'
        '    summary="greet",\n'
        '    about="Greets.",\n'
        "    config=GreetConfig,\n"
        '    run="vae3d.commands.greet_run:greet",\n'
        '    examples=(("vae3d greet times=2", "twice"),),\n'
        ")\n"
    )
    (package / "commands/greet_run.py").write_text(
        '"""`vae3d greet`."""\n\n'
        "from vae3d.commands.greet import GreetConfig\n\n\n"
        "def greet(config: GreetConfig) -> None:\n"
        '    print("hello " * config.times)\n'
    )
    options = (package / "conf/compare.yaml").read_text()
    (package / "conf/greet.yaml").write_text(options.replace("compare", "greet"))
    add_to_table(
        package / "commands/__init__.py", "COMMANDS", '"greet": "vae3d.commands.greet:COMMAND",'
    )
    output = run_in(
        package,
        "import sys\n"
        "from vae3d.cli import main\n"
        "for words, code in [('times=2', 0), ('--help', 0), ('times=0', 2)]:\n"
        "    sys.argv = ['vae3d', 'greet', words]\n"
        "    assert main() == code, words",
    )
    for expected in ("hello hello", "How often.", "times must be"):
        assert expected in output
