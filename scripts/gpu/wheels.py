"""Everything but torch as wheels, for a machine without a package index.

`download` runs where there is an index, `install` on the machine itself. Nothing of it is
compiled; what the machine has already is left as it is.
"""

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PYTHON = "3.12"
PLATFORMS = (
    *(f"manylinux_2_{n}_x86_64" for n in (28, 27, 24, 17)),
    "manylinux2014_x86_64",
)
WANTED = (
    "numpy", "scipy", "nibabel", "blosc2", "ndindex", "numexpr", "hydra-core", "omegaconf",
    "antlr4-python3-runtime", "PyYAML", "safetensors", "ImageIO", "pillow", "tifffile", "rich",
    "markdown-it-py", "mdurl", "Pygments", "packaging", "typing_extensions", "msgpack", "requests",
    "httpx", "anyio", "httpcore", "h11", "sniffio", "idna", "certifi", "urllib3",
    "charset-normalizer", "platformdirs", "threadpoolctl", "monai", "pytest", "iniconfig",
    "pluggy", "hypothesis", "attrs", "sortedcontainers", "pytest-xdist", "execnet",
)  # fmt: skip
"""vae3d, its tests and MONAI need these. No video is written (imageio-ffmpeg) and no log is sent
(wandb); torch and what it needs are on the machine."""
PEERS = ("vae3d2d==0.2.0", "tqdm==4.70.1")


def pinned() -> dict[str, str]:
    """Return the version of each package in constraints.txt by its normal name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(";")[0].strip().split("==") for line in lines if "==" in line)
    return {normal(name): version.strip() for name, version in pairs}


def normal(name: str) -> str:
    """Return the name of a package as wheels are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> Iterator[str]:
    """Yield what to download."""
    versions = pinned()
    for name in WANTED:
        version = versions.get(normal(name))
        yield f"{name}=={version}" if version else name
    yield from PEERS


def download(folder: Path) -> None:
    """Download the wheels for Linux and PYTHON; build those of which there is only a source.

    Raises:
        CalledProcessError: pip failed, after it has printed why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sources = [r for r in requirements() if r.startswith("antlr4")]
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    pip(
        "download", "--quiet", "--no-deps", "--only-binary=:all:", f"--python-version={PYTHON}",
        "--implementation=cp", *platforms, f"--dest={folder}",
        *(r for r in requirements() if r not in sources),
    )  # fmt: skip
    pip("wheel", "--quiet", "--no-deps", f"--wheel-dir={folder}", *sources)


def install(folder: Path, site: Path) -> None:
    """Install the wheels that this Python lacks into `site`, and link vae3d there.

    A checkout has the option files beside the package, where an installed one has them inside.

    Raises:
        CalledProcessError: pip failed, after it has printed why.
    """
    wheels = {normal(wheel.name.split("-")[0]): wheel for wheel in sorted(folder.glob("*.whl"))}
    missing = [str(wheel) for name, wheel in wheels.items() if not is_installed(name)]
    site.mkdir(parents=True, exist_ok=True)
    if missing and not (site / ".installed").exists():
        options = ("--no-index", "--no-deps", "--no-compile", "--upgrade", f"--target={site}")
        pip("install", "--quiet", *options, *missing)
    (site / ".installed").touch()
    package = site / "vae3d"
    package.mkdir(exist_ok=True)
    parts = {path.name: path for path in (ROOT / "vae3d").iterdir()}
    for name, path in {**parts, "conf": ROOT / "conf"}.items():
        if not (package / name).exists():
            (package / name).symlink_to(path)


def is_installed(name: str) -> bool:
    """Return whether this Python has a package."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def pip(*words: str) -> None:
    """Run pip; it prints its errors."""
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
