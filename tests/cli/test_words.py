"""Every word that a person types arrives as it was meant, or is answered with what to type."""

import contextlib
import re
from typing import Any

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from vae3d.cli.values import FUNCTION, QUOTED
from vae3d.cli.words import HYDRA, Keys, overrides
from vae3d.errors import ConfigError

GROUPS = {
    "data": ("ct", "mri", "custom"),
    "patching": ("none", "full", "random_parts"),
    "experiment": ("demo",),
}
KNOWN = frozenset({
    *("name", "run", "output", "seed", "nifti", "data.root", "data.shape", "data.options"),
    *("trainer.lr", "trainer.train", "trainer.steps", "evaluation.metrics", "loss.terms"),
    *("model.levels", "model.levels.channels", "patching.per_volume", "logger.tags"),
})  # fmt: skip
LITERAL = frozenset({"name", "run", "output", "data.root", "trainer.train"})


def keys(positional: str | None = "run", lists: tuple[str, ...] = ("trainer.train",)) -> Keys:
    mappings = frozenset({"data.options", "loss.terms"})
    optional = frozenset({"experiment"})
    only = frozenset({positional or ""} & {*lists})
    return Keys(LITERAL, frozenset(lists), mappings, KNOWN, GROUPS, positional, optional, only)


TRAIN, EVAL, COMPARE = keys(None), keys(), keys(lists=("run", "trainer.train"))
PARSER = OverridesParser.create()


def resolved(value: Any) -> Any:
    """A value as a command gets it, interpolations resolved."""
    config = OmegaConf.create({"key": None, "seed": 7})
    OmegaConf.update(config, "key", value)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return plain["key"]


def arrives(word: str, known: Keys = TRAIN) -> Any:
    """The value that a command gets for one override."""
    (line,) = overrides("train", [word], known)
    return resolved(PARSER.parse_override(line).value())


def jobs(word: str, known: Keys = TRAIN) -> list[Any]:
    """The values that the jobs of a sweep get: Hydra writes and reads them a second time."""
    line, flag = overrides("train", ["-m", word], known)
    assert flag == "-m"
    parsed = PARSER.parse_override(line)
    if not parsed.is_sweep_override():
        return [resolved(parsed.value())]
    again = [f"{parsed.key_or_group}={text}" for text in parsed.sweep_string_iterator()]
    return [resolved(PARSER.parse_override(line).value()) for line in again]


NASTY = r"""
a b|a=b|a,b|[x]|(x)|{x}|$x|a#b|it's|say "x"|a&b|a;b|!x|100%|a~b|~x|*|?|-x|a:b|a@b|日本語/é|1e5|true
a\b|a\|[x|(|}|a=b=c|\\|+x|++|a'b"c|/|.|..|x=[1,2]|x={y}|läuft|run#1|ct (1)|^dec.*|conv\d{2,3}|\(
False|NULL|None|inf|-inf|nan|1|-1|0x10|1_000|.5|1.|choice(a,b)|glob(*)|range(1,3)|'|"|'a|a'|"a'|\'
$|${|a${b|${}|${ }|\${|a\\${|$\{x}|}${|[${|,|,,|a,|,a|=|:|a: b|{a: b|{a: b}|{}|[]|a]b[|\"|''a''|'''
'a'b'|'a','b'|[a,b|a,b]|((((|[[[[{{{{|))))|{a,b}|[a]x[b]|é'é\|../up|./here|~/runs|~user|C:\dir|a  b
\\host\share|-m|--help|--|+experiment=x|data=ct|null |nulls|'a|b'|"it's"|a'b,c'd|<a>|`x`|%s|{0}|🫁
"""
STRINGS = [text for text in re.split(r"[|\n]", NASTY) if text and not QUOTED.fullmatch(text)]
STRINGS += [
    " a",
    "a ",
    " ",
    "\t",
    "a\tb",
    "a\nb",
    "\n",
    "\\\n",
    "'\n",
    "\x00",
    "\x1b[2J",
    "\udcff",
]
MIXED = st.text([*"""ab1 .,:=/\\'"[](){}#$^é~+-@*?|\n"""], min_size=1, max_size=12)
TEXTS = MIXED | st.text(min_size=1, max_size=30)
INTERPOLATION = re.compile(r"\$\{.*\}", re.DOTALL)


def is_text(text: str) -> bool:
    """Whether it has no meaning of its own: null, quotes around it, an interpolation."""
    special = text in ("", "null", "???") or QUOTED.fullmatch(text) or INTERPOLATION.search(text)
    return not special


def in_quotes(text: str) -> str:
    """The text between quotes, as a person writes it."""
    return QuotedString(text, Quote.double).with_quotes()


def is_one_item(text: str) -> bool:
    """Whether it cannot be read as several items, or as a part of one."""
    return is_text(text) and text == text.strip() and not set(text) & set("""[](){},'\"""")


def item(text: str) -> str:
    """The text as one of several between commas."""
    return text if is_one_item(text) else in_quotes(text)


def is_known_to_omegaconf(text: str) -> bool:
    """Whether OmegaConf finds an interpolation or a missing value in a text between quotes."""
    return "${" in text or text == "???"


@pytest.mark.parametrize("text", STRINGS)
@pytest.mark.parametrize("known", [TRAIN, keys(None, lists=())], ids=["lists", "texts"])
def test_a_literal_value_arrives_as_it_was_typed(text: str, known: Keys) -> None:
    for word in (f"name={text}", f"data.root={text}", f"--name={text}"):
        assert arrives(word, known) == text


@settings(max_examples=200, deadline=None)
@example("a\\\n")
@given(TEXTS)
def test_any_text_arrives_as_it_was_typed(text: str) -> None:
    assume(is_text(text))
    assert arrives(f"name={text}") == text


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_what_is_in_quotes_already_stays(text: str) -> None:
    assume(not is_known_to_omegaconf(text))
    word = f"name={in_quotes(text)}"
    assert overrides("train", [word], TRAIN) == [word]
    assert arrives(word) == text


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, max_size=5), st.sampled_from([",", ", ", " , "]))
def test_the_elements_of_a_list_arrive_as_they_were_typed(texts: list[str], comma: str) -> None:
    assume(not any(map(is_known_to_omegaconf, texts)))
    typed = f"[{comma.join(map(item, texts))}]"
    assert arrives(f"trainer.train={typed}") == texts
    assert jobs(f"trainer.train={typed},[x]") == [texts, ["x"]]


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=4))
def test_the_jobs_of_a_sweep_get_what_was_typed(texts: list[str]) -> None:
    assume(not any(map(is_known_to_omegaconf, texts)))
    assert jobs(f"data.root={','.join(map(item, texts))}") == texts


@pytest.mark.parametrize("text", [text for text in STRINGS if "${" not in text])
def test_one_of_several_jobs_gets_what_was_typed(text: str) -> None:
    assert jobs(f"name=first,{item(text)}") == ["first", text]


@settings(max_examples=100, deadline=None)
@given(st.lists(MIXED | st.sampled_from(STRINGS), min_size=1, max_size=4))
def test_plain_words_arrive_as_they_were_typed(words: list[str]) -> None:
    # A slash before any = makes a word a path.
    paths = [f"runs/{word}" for word in words]
    assume(all(is_text(path) for path in paths))
    (line,) = overrides("compare", paths, COMPARE)
    assert resolved(PARSER.parse_override(line).value()) == paths
    (line,) = overrides("eval", paths[:1], EVAL)
    assert resolved(PARSER.parse_override(line).value()) == paths[0]


@settings(max_examples=200, deadline=None)
@given(MIXED | st.text([*"abc123.,:[]{}'\" $+-/"], max_size=12))
def test_other_values_mean_what_hydra_reads_where_it_reads_them(text: str) -> None:
    word = f"trainer.lr={text}"
    try:
        expected = PARSER.parse_override(word)
    except HydraException:
        expected = None
    try:
        line, _ = overrides("train", ["-m", word], TRAIN)
    except ConfigError:
        assert expected is None
    else:
        assert expected is None or PARSER.parse_override(line)._value == expected._value


@settings(max_examples=500, deadline=None)
@given(st.lists(TEXTS | st.sampled_from([*KNOWN, *HYDRA, *(f"{k}=1" for k in KNOWN)]), max_size=4))
def test_any_words_are_taken_or_answered(words: list[str]) -> None:
    for command, known in (("train", TRAIN), ("eval", EVAL), ("compare", COMPARE)):
        with contextlib.suppress(ConfigError):
            assert all(isinstance(line, str) for line in overrides(command, words, known))


def test_functions_are_those_of_hydra() -> None:
    for name in create_functions().definitions:
        assert FUNCTION.fullmatch(f"{name}(1,2)"), name


def test_words_are_those_of_hydra() -> None:
    actions = get_args_parser()._actions
    known = {word for action in actions for word in action.option_strings}
    # --run is a key of vae3d; Hydra's own changes nothing.
    assert set(HYDRA) == known - {"--run"}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("name=null", None),
        ("name=", ""),
        ("name='ct (1)'", "ct (1)"),
        ("name='null'", "null"),
        ("name=run-${seed}", "run-7"),
        ("name=läuft (${seed})", "läuft (7)"),
        ("data.root=/a,b/${seed}/c d", "/a,b/7/c d"),
        (r"name=\${seed}", "${seed}"),
        ("trainer.train=[^dec.*]", ["^dec.*"]),
        ("trainer.train=[^dec.*,'a,b', c d]", ["^dec.*", "a,b", "c d"]),
        ("trainer.train=[conv[0-9]{2,3},(a,b)]", ["conv[0-9]{2,3}", "(a,b)"]),
        ("trainer.train=[null,true,1]", ["null", "true", "1"]),
        ("trainer.train=[it's,that's]", ["it's", "that's"]),
        ("trainer.train=[]", []),
        ("trainer.train=[a,]", ["a"]),
        ("trainer.train={a: ^x, b: 'c,d'}", {"a": "^x", "b": "c,d"}),
        ("trainer.train=[a]b[c]", "[a]b[c]"),
        ("name=[a,b]", "[a,b]"),
        ("trainer.lr=1e-4", 1e-4),
        ("data.shape=[16, 16,16]", [16, 16, 16]),
        ("logger.tags=[läuft,ct (1),3]", ["läuft", "ct (1)", 3]),
        ("logger.tags={a: é, b: [1,#2]}", {"a": "é", "b": [1, "#2"]}),
        ("logger.tags=a=b", "a=b"),
        (r"logger.tags=a\,b", "a,b"),
        ("trainer.steps=int(3.0)", 3),
        ("seed=${oc.env:NOTHING,${seed}}", "7"),
    ],
)
def test_values(word: str, value: Any) -> None:
    assert arrives(word) == value


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("name=a,b", ["a", "b"]),
        ("data.root=/a b,/c", ["/a b", "/c"]),
        ("name='a,b',c", ["a,b", "c"]),
        ("name=null,a", [None, "a"]),
        ("name=a", ["a"]),
        ("name= a", [" a"]),
        ("data.root=${oc.env:NOTHING,/d},/e", ["/d", "/e"]),
        ("trainer.train=[a,b],[c]", [["a", "b"], ["c"]]),
        ("trainer.lr=1e-4,3e-4", [1e-4, 3e-4]),
        ("trainer.lr=choice(1,2)", [1, 2]),
        ("data=ct,mri", ["ct", "mri"]),
    ],
)
def test_sweeps(word: str, expected: list[Any]) -> None:
    assert jobs(word) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--data ct", "data=ct"),
        ("--data=ct", "data=ct"),
        ("--trainer.lr 1e-4 seed=3", "trainer.lr=1e-4 seed=3"),
        ("--name -x", "name='-x'"),
        ("--patching.per-volume 4", "patching.per_volume=4"),
        ("--model.levels.1.channels 32", "model.levels.1.channels=32"),
        ("--loss.terms.gradient 0.1", "++loss.terms.gradient=0.1"),
        ("data.options.n=8", "++data.options.n=8"),
        ("+data.options.n=8", "+data.options.n=8"),
        ("data.options={n:8}", "++data.options={n:8}"),
        ("~loss.terms.l1", "~loss.terms.l1"),
        ("~loss.terms.l1=1.0", "~loss.terms.l1=1.0"),
        ("experiment=demo", "+experiment=demo"),
        ("+experiment=demo", "+experiment=demo"),
        ("++name=a#b", "++name='a#b'"),
        ("name@_global_=a#b", "name@_global_='a#b'"),
        ("data@other=ct", "data@other=ct"),
        ("patching=none", "patching=none"),
        ("hydra/launcher=joblib hydra.sweep.dir=x", "hydra/launcher=joblib hydra.sweep.dir=x"),
        ("--cfg job data=ct", "data=ct --cfg job"),
        ("-m name=a,b", "name=a,b -m"),
        ("--multi name=a,b", "name=a,b --multirun"),
        ("hydra.mode=MULTIRUN name=a,b", "hydra.mode=MULTIRUN name=a,b"),
        ("--config-dir X=1 --info name=a", "name=a --config-dir X=1 --info"),
        ("--info defaults --cfg=job -c all", "--info defaults --cfg=job -c all"),
        ("--help --resolve --package p -sc", "--help --resolve --package p -sc"),
        ("+= @x=1", "+= @x=1"),
    ],
)
def test_words_of_train(typed: str, expected: str) -> None:
    assert overrides("train", typed.split(" "), TRAIN) == expected.split(" ")


@pytest.mark.parametrize(
    ("command", "typed", "expected"),
    [
        ("eval", ["runs/ct64"], ["run=runs/ct64"]),
        ("eval", ["--run", "runs/ct64"], ["run=runs/ct64"]),
        ("eval", ["seed=1", "runs/a b", "--help"], ["run='runs/a b'", "seed=1", "--help"]),
        ("eval", ["-m", "runs/a,runs/b"], ["run=runs/a,runs/b", "-m"]),
        ("eval", ["runs/lr=1"], ["run='runs/lr=1'"]),
        ("eval", ["~/runs/a"], ["run='~/runs/a'"]),
        ("compare", ["runs/a", "runs/b,c"], ["run=[runs/a,'runs/b,c']"]),
        ("compare", ["run=runs/a"], ["run=[runs/a]"]),
        ("compare", ["run=[runs/a,'b, c']"], ["run=[runs/a,'b, c']"]),
        ("compare", ["-m", "run=[a,b],c"], ["run=[a,b],[c]", "-m"]),
        ("compare", ["run=null"], ["run=null"]),
        ("compare", [], []),
    ],
)
def test_plain_words(command: str, typed: list[str], expected: list[str]) -> None:
    assert overrides(command, typed, COMPARE if command == "compare" else EVAL) == expected


SYNTAX = "settings are typed as key=value, and --help lists them"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("patching=null", "patching=null chooses no option of patching: type patching=none"),
        ("patching=", "patching= chooses no option of patching: type patching=none"),
        ("-m patching=None,full", "patching=None,full chooses no option of patching: "
         "type patching=none,full"),
        ("data=none", "data=none chooses no option of data: type data=ct, or one of mri, custom"),
        ("ct", "vae3d train takes no plain words: type data=ct"),
        ("data ct", "vae3d train takes no plain words: type data=ct"),
        ("data = ct", "no space before or after =: type data=ct"),
        ("data =ct", "no space before or after =: type data=ct"),
        ("data", "vae3d train takes no plain words: type data=ct, or one of mri, custom"),
        ("name", "vae3d train takes no plain words: type name=VALUE"),
        ("/scans", "vae3d train takes no plain words: type data.root=/scans"),
        ("--data --help", "--data needs a value: type data=VALUE, or data=true for a switch"),
        ("--nifti data=ct", "--nifti needs a value: type nifti=VALUE, or nifti=true for a switch"),
        ("--lr 1e-4", "unrecognized arguments: --lr; type trainer.lr=1e-4"),
        ("--dta=ct", "unrecognized arguments: --dta=ct; type data=ct"),
        ("--nothing-like-it", f"unrecognized arguments: --nothing-like-it; {SYNTAX}"),
        ("-x", f"unrecognized arguments: -x; {SYNTAX}"),
        ("--", f"unrecognized arguments: --; {SYNTAX}"),
        ("+experiment", "+experiment needs a value: type +experiment=VALUE"),
        ("nâme=x", "unknown key 'nâme', type name=x"),
        ("model.levels[1].channels=3", "unknown key 'model.levels[1].channels', "
         "type model.levels.1.channels=3"),
        ("data.shape=[16,16", "data.shape=[16,16 does not close its [: "
         "type 'data.shape=[16,16]'"),
        ("trainer.lr=1,2", "trainer.lr=1,2 has several values: type 'trainer.lr=[1,2]', "
         "or add -m to try each"),
    ],
)  # fmt: skip
def test_what_to_type_instead(typed: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        overrides("train", typed.split(" "), TRAIN)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["runs/a", "runs/b c"], "vae3d eval takes one run, got runs/a runs/b c: "
         "type vae3d eval runs/a, then the command again for each other"),
        (["run", "runs/a"], "vae3d eval takes one run, got run runs/a: type run=runs/a"),
        (["runs/a", "run=b"], "run is given twice, as runs/a and as run=: keep one of them"),
    ],
)  # fmt: skip
def test_one_run_where_one_belongs(typed: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        overrides("eval", typed, EVAL)
    assert str(error.value) == message
