"""What README and docs say is true: commands compose, names exist, nothing is left out."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from tests.test_architecture import FLOORS
from tests.test_conf import options
from vae3d.cli.compose import composed
from vae3d.cli.line import Line
from vae3d.commands import COMMANDS
from vae3d.loss.config import LOSSES
from vae3d.model.config import ACTIVATIONS, NORMS
from vae3d.scans.formats import FORMATS
from vae3d.scoring.config import METRICS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
INDEX = DOCS / "index.md"
RECORDS = ("experiments.md", "benchmarks.md", "settings.md")
"""Pages that do not explain how to use vae3d: two records, and one that is generated."""
PAGES = [
    README,
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
]
GUIDES = [path for path in PAGES if path.name not in RECORDS]
GUIDE = "\n".join(path.read_text() for path in GUIDES)
EXPERIMENTS = sorted((ROOT / "conf/experiment").glob("*.yaml"))


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
every_guide = pytest.mark.parametrize("page", GUIDES, ids=name_of)


def commands_in(text: str) -> list[str]:
    """Return the commands at the beginning of a line of code, and those of torchrun."""
    pattern = rf"^(?:[A-Z]+=\S+ |torchrun .*-m )*(vae3d (?:{'|'.join(COMMANDS)}) [^#\n`]*)"
    blocks = re.findall(r"^```bash$(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in re.findall(pattern, block, re.MULTILINE)]
    return [line.strip() for line in lines]


EXAMPLES = [
    (name_of(page), command) for page in GUIDES for command in commands_in(page.read_text())
]
EXAMPLES += [
    (name_of(path), command)
    for path in EXPERIMENTS
    for command in re.findall(r"^# (vae3d train [^#\n]*?)(?: {2,}|$)", path.read_text(), re.M)
]


@pytest.mark.parametrize("command", dict.fromkeys(command for _, command in EXAMPLES))
def test_commands_compose(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    # A sweep's values are tried one by one: the first of each.
    swept = "-m" in arguments
    given = [re.sub(r",.*", "", a) if swept else a for a in arguments if a[0] != "-"]
    words = [re.sub(r"^plugins=.*|^loss\.terms\.log_cosh=.*", "", word) for word in given]
    composed(name, *Line.of(COMMANDS[name], [word for word in words if word]).overrides)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 50
    assert {command.split()[1] for _, command in EXAMPLES} == {*COMMANDS}


@pytest.mark.parametrize(
    "name", dict.fromkeys([*COMMANDS, *LOSSES, *METRICS, *NORMS, *ACTIVATIONS, *FORMATS])
)
def test_names_are_in_the_docs(name: str) -> None:
    assert re.search(rf"(?<![\w.]){re.escape(name)}\b", GUIDE)


@pytest.mark.parametrize("group", ["data", "patching", "model", "logger", "loss", "evaluation"])
def test_options_are_in_the_docs(group: str) -> None:
    for option in options(group):
        if option not in ("run", "none", "default"):
            assert f"`{option}`" in GUIDE or f"{group}={option}" in GUIDE, option


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 90


def links_in(page: Path) -> list[tuple[Path, str]]:
    """Return the files that a page links to, each with the heading in it, if any."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "code", text))
    parts = [t.partition("#") for t in targets if not re.match(r"[a-z]+:", t)]
    return [((page.parent / path).resolve() if path else page, part) for path, _, part in parts]


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target, heading in links_in(page):
        assert target.exists(), target
        assert not heading or heading in anchors_of(target), f"{target}#{heading}"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=name_of)
def test_every_page_can_be_reached(page: Path) -> None:
    linked = {target for start in (README, INDEX) for target, _ in links_in(start)}
    assert page in linked or page == INDEX


@pytest.mark.parametrize(
    "picture", sorted((DOCS / "images").iterdir()), ids=lambda path: path.name
)
def test_pictures_are_small_and_shown(picture: Path) -> None:
    assert picture.stat().st_size <= 250_000
    assert any(picture in dict(links_in(page)) for page in PAGES)


@every_guide
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"`((?:vae3d|tests|scripts|conf|examples)/[\w./-]+)`", text)
    # In the pages about the code a path without the package's name is one in the package.
    if page.name in ("architecture.md", "CONTRIBUTING.md"):
        named += [f"vae3d/{path}" for path in re.findall(r"`([a-z_]+/(?:\w+\.py)?)`", text)]
        named = [path.replace("vae3d/conf/", "conf/") for path in named]
    for path in named:
        assert any((ROOT / place).exists() for place in (path, path.removeprefix("vae3d/"))), path


def test_the_floors_are_those_of_the_test() -> None:
    rows = re.findall(
        r"^ ?\d+ ((?:\w+ \| )*\w+)(?:  |$)", (DOCS / "architecture.md").read_text(), re.M
    )
    floors = [{*row.split(" | ")} for row in rows]
    assert floors == FLOORS


@pytest.mark.extras
def test_the_notebook_of_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All blocks of docs/python.md, in order, with two steps instead of hundreds."""
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "python.md").read_text()
    blocks = re.findall(r"^```python$(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    code = "\n".join(blocks)
    short = re.sub(r"(steps\"?[:=] ?)\d+", r"\g<1>2", code)
    assert short.count("steps") == code.count("steps") >= 4
    program = tmp_path / "notebook.py"
    program.write_text(short)
    names = runpy.run_path(str(program))
    assert names["best"].psnr > 0
    assert names["again"].origin.started_from == names["finer"].origin.started_from
    printed = capsys.readouterr().out
    assert re.search(r"print\(error\)  # (.*)", page).group(1) in printed  # type: ignore[union-attr]


def test_contributing_tours_every_package() -> None:
    tour = (ROOT / "CONTRIBUTING.md").read_text()
    for name in {name for floor in FLOORS for name in floor} - {"__main__", "version"}:
        assert f"`{name}/`" in tour or f"`{name}.py`" in tour, name


WORDS = runpy.run_path(str(ROOT / "scripts/check_words.py"))


def test_the_word_list_finds_words_across_lines_and_knows_its_exceptions(tmp_path: Path) -> None:
    listed = tmp_path / "words.txt"
    listed.write_text(
        "# a comment\nso many -> N\nlies -> is\n\n[exceptions]\na/*.py: lies about\n"
    )
    rules = WORDS["Rules"].read(listed)
    source = (
        '"""One lies here, so\nmany there."""\n# so\n# many\nalso, many = 1, f"lies about {2}"\n'
    )
    prose = [*WORDS["prose_of_python"](source)]
    found = [message for _, message in sorted(rules.hits("a/b.py", prose))]
    assert found == ["a/b.py:1: lies -> is", "a/b.py:1: so many -> N", "a/b.py:3: so many -> N"]
    assert len([*rules.hits("c.py", prose)]) == 4
    page = "It `lies`.\n\n```\nlies\n```\n\n[here](lies.md) so\nmany\n"
    assert [line for line, _ in rules.hits("c.md", WORDS["prose_of_markdown"](page))] == [7]
    listed.write_text("lies, is\n")
    with pytest.raises(ValueError, match=r"words.txt:1: expected"):
        WORDS["Rules"].read(listed)


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_pages_avoid_the_listed_words(page: Path) -> None:
    assert WORDS["check"]([page], WORDS["Rules"].read(WORDS["WORDS"])) == []
