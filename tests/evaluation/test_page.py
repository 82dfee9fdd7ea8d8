"""The HTML report: its data reads back, names stay text, a browser draws it."""

import base64
import json
import math
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.evaluation.browser import SIDEWAYS, in_frame
from vae3d.charts.history import MAX_POINTS
from vae3d.pictures.figures import CaseView, diverging, gray, planes, round_limit
from vae3d.report.page import MAX_ROWS, data_uri, pack, pack_view, write_page
from vae3d.report.result import CaseScore, EvaluationResult

HOSTILE = "<script>alert(1)</script>"
HOSTILE_NAMES = [
    *(HOSTILE, "</script><b>", "<!--<script>", '"><img src=x onerror=alert(1)>', "a\nb", "\udcff"),
    *("$data", "${x}", "&lt;", "\u2028", "患者"),
]
SCORES = {"psnr": "dB", "mae": "HU", "psnr/bone": "dB", "psnr@floor": "dB"}
LATENTS = {
    "channels": [
        {"mean": 0.1, "std": 1.0, "noise_share": 0.02, "kl": 3.0, "active": True},
        {"mean": 0.0, "std": 0.1, "noise_share": 0.99, "kl": math.inf, "active": False},
    ],
    "active_channels": 1,
    "scaling_factor": 0.9,
}


def view(shape: tuple[int, ...] = (5, 6, 7), title: str = "case", noise: float = 30) -> CaseView:
    generator = np.random.default_rng(0)
    ramp = np.add.outer(
        np.linspace(-900, 500, math.prod(shape[:-1])), np.linspace(0, 400, shape[-1])
    )
    original = ramp.reshape(shape).astype(np.float32)
    other = original + generator.normal(0, noise, shape).astype(np.float32)
    spacing = (3.0, 1.0, 2.0)[-len(shape) :]
    return CaseView(title, title, original, other, -1000, 1000, "HU", spacing)


def result(names: list[str], latents: dict[str, Any] | None = None) -> EvaluationResult:
    cases = [
        CaseScore(name, -1000, 1000, {s: 30.0 + n + len(s) for s in SCORES})
        for n, name in enumerate(names)
    ]
    protocol = {"scores": SCORES, "mode": "full", "patch_size": None, "region": HOSTILE}
    return EvaluationResult(cases, protocol, latents or {})


def written(path: Path, scores: EvaluationResult, *views: CaseView, **other: Any) -> str:
    """Return the text of a page with these cases."""
    labelled = [*zip(("best", "median", "worst"), views, strict=False)]
    run = {"name": "demo", "step": 10, "config": {"lr": 1e-4}, "command": "vae3d eval"}
    pictures = other.get("pictures", [])
    write_page(path, scores, labelled, pictures, other.get("run", run), other.get("curves"))
    return path.read_text(encoding="utf-8")


def data(text: str) -> Any:
    """Return the data of a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def unpacked(text: str) -> NDArray[np.int16]:
    """Return the inverse of `pack`, as the page computes it."""
    halves = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(2, -1)
    zigzag = halves[0].astype(np.uint16) | halves[1].astype(np.uint16) << 8
    steps = (zigzag >> 1).astype(np.int16) ^ -(zigzag & 1).astype(np.int16)
    return np.cumsum(steps, dtype=np.int16)


@pytest.mark.parametrize("kind", ["noise", "ramp", "ends"])
def test_numbers_read_back(kind: str) -> None:
    generator = np.random.default_rng(0)
    numbers = {
        "noise": generator.integers(-32768, 32768, (3, 4, 5)),
        "ramp": np.arange(60).reshape(3, 4, 5),
        "ends": np.resize([-32768, 32767, 0, -1], (2, 5)),
    }[kind].astype(np.int16)
    assert (unpacked(pack(numbers)).reshape(numbers.shape) == numbers).all()


@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 9, 9), (33, 17), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("noise", [0.0, 0.3, 30.0])
def test_volumes_read_back_within_half_a_step(shape: tuple[int, ...], noise: float) -> None:
    shown = view(shape, noise=noise)
    packed = pack_view(shown, 10**6)
    assert packed["stride"] == [1] * len(shape)
    assert packed["step"] <= max(2, round_limit(shown.reconstruction - shown.original) / 8)
    for name in ("original", "reconstruction"):
        volume = getattr(shown, name)
        back = packed["origin"] + packed["step"] * unpacked(packed[name]).reshape(shape)
        assert np.abs(back - volume).max() <= packed["step"] / 2 * 1.001 + 1e-3


def test_a_large_volume_keeps_every_nth_voxel_and_its_middle() -> None:
    shown = view((40, 90, 90))
    packed = pack_view(shown, 60_000)
    assert len(packed["original"]) + len(packed["reconstruction"]) <= 60_000
    assert packed["stride"][1] > packed["stride"][0], "the finest axis is thinned first"
    cut = [slice(a, None, s) for a, s in zip(packed["first"], packed["stride"], strict=True)]
    included = shown.original[tuple(cut)]
    assert included.shape == packed["shape"]
    assert packed["spacing"] == [s * n for s, n in zip((3, 1, 2), packed["stride"], strict=True)]
    for n, first, stride in zip(
        shown.original.shape, packed["first"], packed["stride"], strict=True
    ):
        assert (n // 2 - first) % stride == 0
    back = packed["origin"] + packed["step"] * unpacked(packed["original"]).reshape(included.shape)
    assert np.abs(back - included).max() <= packed["step"] / 2 * 1.001


def test_a_page_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae3d.report.page.PAGE_BYTES", 3_000_000)
    monkeypatch.setattr("vae3d.report.page.PICTURE_BYTES", 200_000)
    noise = np.random.default_rng(0).integers(0, 255, (300, 2000, 3)).astype(np.uint8)
    names = [f"case_{n}" for n in range(3 * MAX_ROWS)]
    views = [view((60, 64, 64), f"case_{n}") for n in (0, 1, 2)]
    text = written(
        tmp_path / "index.html", result(names), *views, pictures=[("a", noise), ("b", noise)]
    )
    assert 2_000_000 < len(text) < 3_100_000
    page = data(text)
    assert page["cases"]["every"] == len(names)
    assert MAX_ROWS <= len(page["cases"]["names"]) <= MAX_ROWS + 6
    assert {"case_0", "case_1", "case_2"} <= {*page["cases"]["names"]}


def test_pictures_are_no_wider_than_asked() -> None:
    picture = np.zeros((100, 400, 3), np.uint8)
    header = base64.b64decode(data_uri(picture, 200).removeprefix("data:image/png;base64,"))[:24]
    assert int.from_bytes(header[16:20], "big") == 200
    assert int.from_bytes(header[20:24], "big") == 50


class Elements(HTMLParser):
    """The elements of a page and their attributes, as a browser finds them before any script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_names_stay_text(name: str, tmp_path: Path) -> None:
    run = {"name": name, "config": {name: [name]}, "versions": {name: name}, "command": name}
    hostile = written(
        tmp_path / "a.html",
        result([name, "b"]),
        view(title=name),
        run=run,
        pictures=[(name, np.zeros((4, 4, 3), np.uint8))],
    )
    tame = written(tmp_path / "b.html", result(["a", "b"]), view(title="a"))
    assert Elements(hostile).found == Elements(tame).found
    page = data(hostile)
    assert page["cases"]["names"][0] == name
    assert page["run"]["name"] == name
    assert page["views"][0]["title"] == name


def test_nothing_is_loaded(tmp_path: Path) -> None:
    text = written(tmp_path / "index.html", result(["a"], LATENTS), view())
    assert {*re.findall(r"https?://[^\s\"']+", text)} <= {"http://www.w3.org/2000/svg"}
    for tag, attributes in Elements(text).found:
        assert not {"src", "srcset", "style", "onload"} & {*attributes}, tag
        assert tag not in ("link", "iframe", "object", "base", "form")
    assert "innerHTML" not in text
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert policy[1].startswith("default-src 'none';")
    assert "unsafe" not in policy[1]


def test_infinity_and_absence(tmp_path: Path) -> None:
    scores = {"psnr": math.inf, "mae": 0.0, "psnr/bone": math.nan}
    case = CaseScore("perfect", -1000, 1000, scores)
    perfect = EvaluationResult([case], {"scores": SCORES, "limit": math.nan, "far": -math.inf})
    page = data(written(tmp_path / "index.html", perfect, view(noise=0)))
    found = {score["name"]: score for score in page["scores"]}
    assert found["psnr"]["mean"] == "Infinity"
    assert found["psnr"]["infinite"] == "1 of 1 identical"
    assert found["psnr"]["low"] is None
    assert found["psnr@floor"] == {
        **{"name": "psnr@floor", "unit": "dB", "cases": 0, "label": "PSNR", "places": 2},
        "infinite": "",
        **{"mean": None, "std": 0.0, "low": None, "high": None, "min": None, "max": None},
        **{"better": "higher is better", "rank": 0},
    }
    assert page["cases"]["scores"] == {"psnr": ["Infinity"], "mae": [0.0], "psnr/bone": [None]}
    assert page["protocol"] == {"limit": None, "far": "-Infinity"}


def test_a_diverged_network_is_shown(tmp_path: Path) -> None:
    broken = view()
    broken.reconstruction[0, 0] = math.nan
    broken.reconstruction[1, 1] = math.inf
    page = data(written(tmp_path / "index.html", result(["case"]), broken))
    shown = page["views"][0]
    back = shown["origin"] + shown["step"] * unpacked(shown["reconstruction"]).reshape(5, 6, 7)
    assert np.allclose(back[[0, 1], [0, 1]], -1000, atol=shown["step"])


def test_curves_are_thinned_and_cut_off_rows_left_out(tmp_path: Path) -> None:
    rows = [f"{n},0,train,{1 / n},{n},1e-4," for n in range(1, 1002)]
    rows += ["1001,0,val,,,,30.5", "1001,1,val,,,,nan", "1002,0,tr", "", "x,0,train,1,1,1,"]
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join(["step,epoch,split,loss,mse,lr,psnr", *rows]))
    curves = {c["name"]: c["series"] for c in data(
        written(tmp_path / "index.html", result(["a"]), curves=path)
    )["curves"]}  # fmt: skip
    assert [*curves] == ["loss", "mse", "lr", "psnr"]
    assert MAX_POINTS / 2 <= len(curves["loss"]["train"]) <= MAX_POINTS
    assert all(x == y for x, y in curves["mse"]["train"]), "steps are averaged with their values"
    assert curves["psnr"] == {"val": [[1001, 30.5]]}


def test_a_term_and_a_metric_of_one_name_are_not_drawn_together(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,split,ssim\n1,0,train,0.1\n1,0,val,0.9\n")
    curves = data(written(tmp_path / "index.html", result(["a"]), curves=path))["curves"]
    assert [curve["series"] for curve in curves] == [{"train": [[1, 0.1]]}, {"val": [[1, 0.9]]}]


def test_warnings_and_split_are_shown_first_and_saved(tmp_path: Path) -> None:
    warned = EvaluationResult(
        result(["a"]).cases,
        {"scores": SCORES},
        facts={"split": "test", "seed": 0},
        warnings=["1 of 1 was trained on"],
    )
    page = data(written(tmp_path / "index.html", warned))
    assert page["run"]["warnings"] == ["1 of 1 was trained on"]
    assert page["run"]["facts"] == {"Split": "test", "Seed": "0"}
    assert warned.summary()["warnings"] == ["1 of 1 was trained on"]
    assert warned.summary()["split"] == "test"
    assert "warnings" not in result(["a"]).summary()


PROBE = """
<script>
const started = setInterval(() => {
  if (!document.body.dataset.ready && !document.body.dataset.failed) return;
  clearInterval(started);
  const pixels = [...document.querySelectorAll("canvas")].map((canvas) => {
    const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const shape = [canvas.height, canvas.width];
    return { ...canvas.dataset, shape, bytes: [...image.data].filter((_, n) => n % 4 < 3) };
  });
  const plane = document.querySelector(".pictures[tabindex]");
  const slider = document.querySelector(".plane-tools input");
  const press = (key) => {
    if (!plane) return null;
    plane.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    return [slider.value, document.querySelector("canvas").dataset.mean];
  };
  const keys = ["Home", "ArrowUp", "End"].map(press);
  const chart = document.querySelector("#training svg");
  const pointAt = (share) => {
    if (!chart) return null;
    const box = chart.getBoundingClientRect();
    const clientX = box.left + share * box.width;
    chart.dispatchEvent(new PointerEvent("pointermove", { clientX }));
    return chart.parentNode.querySelector("output").textContent;
  };
  const readouts = [0.1, 0.6, 1].map(pointAt);
  const headings = [...document.querySelectorAll("h2")].map((heading) => heading.textContent);
  const wide = document.documentElement.scrollWidth - innerWidth;
  const found = document.createElement("script");
  found.type = "application/json";
  found.id = "found";
  const text = JSON.stringify({ pixels, keys, readouts, headings, wide });
  found.textContent = text.replaceAll("<", "\\\\u003c");
  document.body.append(found);
}, 20);
</script>
"""


def browsed(path: Path, *, probe: bool = True, width: int = 1280) -> str:
    """The page's document after its script has run, and, where asked for, what was drawn."""
    browser = shutil.which("chromium")
    if not browser:
        pytest.skip("chromium is not installed")
    if probe:
        # The policy lets no other script run, so it has to go.
        text = re.sub(r"<meta http-equiv=.*?>", "", path.read_text(encoding="utf-8"))
        path = path.with_name("probed.html")
        path.write_text(text.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--virtual-time-budget=8000", f"--window-size={width},900"]
    command += [f"--user-data-dir={path.parent / 'profile'}", path.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    return done.stdout.decode()


def found(document: str) -> Any:
    match = re.search(r'<script type="application/json" id="found">(.*?)</script>', document)
    assert match, "the page drew nothing"
    return json.loads(match[1])


def test_each_score_marks_its_own_cases(tmp_path: Path) -> None:
    cases = [CaseScore(n, 0, 1, {"psnr": p, "mae": m}) for n, p, m in (("a", 30, 9), ("b", 20, 1))]
    page = data(written(tmp_path / "index.html", EvaluationResult(cases, {"scores": SCORES})))
    assert page["ranks"]["psnr"] == {"best": "a", "worst": "b"}
    assert page["ranks"]["mae"] == {"best": "b", "worst": "a"}
    assert page["chosen"] == "PSNR"


@pytest.mark.extras
@pytest.mark.parametrize("shape", [(5, 6, 7), (9, 8), (1, 4, 4)], ids=str)
def test_a_browser_draws_what_the_figures_show(shape: tuple[int, ...], tmp_path: Path) -> None:
    shown = view(shape)
    path = tmp_path / "index.html"
    written(path, result(["case", "other"], LATENTS), shown)
    drawn = found(browsed(path))
    limit = round_limit(shown.reconstruction - shown.original)
    before, after = (planes(v, shown.spacing) for v in (shown.original, shown.reconstruction))
    assert len(drawn["pixels"]) == 3 * len(before)
    step = data(path.read_text(encoding="utf-8"))["views"][0]["step"]
    for n, (a, b) in enumerate(zip(before, after, strict=True)):
        pictures = [gray(a.image, -1000, 1000), gray(b.image, -1000, 1000)]
        pictures.append(diverging(b.image - a.image, limit))
        for canvas, picture in zip(drawn["pixels"][3 * n : 3 * n + 3], pictures, strict=True):
            assert canvas["plane"] == a.name
            assert canvas["shape"] == [*picture.shape[:2]]
            pixels = np.array(canvas["bytes"]).reshape(picture.shape)
            # The numbers' steps and 256 colours between the given ones.
            assert np.abs(pixels - picture).max() <= 1 + 600 * step / limit * (
                canvas["column"] == "difference"
            )
        assert float(drawn["pixels"][3 * n]["mean"]) == pytest.approx(a.image.mean(), abs=step)
    if len(shape) == 3 and shape[0] > 1:
        places = [0, 1, shape[0] - 1]
        assert [int(place) for place, _ in drawn["keys"]] == places
        means = [shown.original[place].mean() for place in places]
        assert [float(mean) for _, mean in drawn["keys"]] == pytest.approx(means, abs=step)


@pytest.mark.extras
def test_a_browser_shows_a_hostile_page_as_text(tmp_path: Path) -> None:
    """The page works under its own content security policy and has every section."""
    curves = tmp_path / "metrics.csv"
    curves.write_text("step,epoch,split,loss\n1,0,train,0.5\n2,0,train,0.4\n2,0,val,0.6\n")
    path = tmp_path / "index.html"
    run = {"name": HOSTILE, "weights": HOSTILE, "config": {HOSTILE: HOSTILE}, "command": HOSTILE}
    written(
        path,
        result([HOSTILE, "b"], LATENTS),
        view(title=HOSTILE),
        run=run,
        curves=curves,
        pictures=[(HOSTILE, np.zeros((4, 4, 3), np.uint8))],
    )
    document = browsed(path, probe=False)
    assert 'data-ready="true"' in document
    body = re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)
    assert body.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 8
    drawn = found(browsed(path))
    assert drawn["readouts"] == [
        *("step 1  train 0.5  val 0.6", "step 1  train 0.5  val 0.6", "step 2  train 0.4  val 0.6")
    ]
    assert drawn["headings"] == [
        *("Summary", "Cases", "Distribution", "Regions", "Latents"),
        *("Probes", "Training", "All cases", "Protocol", "Run"),
    ]


@pytest.mark.extras
def test_a_browser_shows_infinity_and_absence_and_fits_a_phone(tmp_path: Path) -> None:
    case = CaseScore("perfect" * 20, -1000, 1000, {"psnr": math.inf, "mae": math.nan})
    path = tmp_path / "index.html"
    written(path, EvaluationResult([case], {"scores": SCORES}), view((12, 9), case.case_id, 0))
    document = browsed(path, width=500)
    drawn = found(document)
    assert drawn["wide"] <= 0
    assert drawn["headings"] == ["Summary", "Cases", "Regions", "All cases", "Protocol", "Run"]
    row = re.search(r"<tbody><tr>(<th scope=\"row\">perfect.*?)</tr>", document)
    assert row
    assert "∞" in row[1]
    assert "\N{EN DASH}" in row[1]
    assert "NaN" not in re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)


@pytest.mark.extras
@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_scrolls_sideways_and_every_button_works(
    count: int, width: int, tmp_path: Path
) -> None:
    """Of many cases and of two; buttons, boxes and summaries are pressed before it is measured."""
    path = tmp_path / "index.html"
    names = [f"a_long_name_of_a_case_{n}" for n in range(count)]
    shown = [view(title=name) for name in (names[0], names[-1])]
    curves = tmp_path / "metrics.csv"
    curves.write_text("step,epoch,split,loss\n1,0,train,0.5\n2,0,val,0.6\n")
    facts = {"data": "ct /" + "long" * 30, "model": {"parameters": 10**9}}
    warned = replace(result(names, LATENTS), facts=facts, warnings=["long" * 60])
    noise = np.zeros((40, 900, 3), np.uint8)
    written(path, warned, *shown, curves=curves, pictures=[("noise", noise)])
    press = """
      const failures = [];
      frame.contentWindow.addEventListener("error", (event) => failures.push(event.message));
      frame.contentWindow.addEventListener("unhandledrejection", (e) => failures.push(e.reason));
      page.querySelectorAll("details").forEach((part) => (part.open = true));
      page.querySelectorAll("button, input[type=checkbox]").forEach((part) => part.click());
      page.querySelectorAll("input[type=range]").forEach((part) => {
        part.value = part.max;
        part.dispatchEvent(new Event("input"));
      });
    """
    what = f"JSON.stringify([{SIDEWAYS}, page.querySelectorAll('button').length, failures])"
    wide_by, buttons, failures = json.loads(in_frame(path, width, what, press))
    assert wide_by <= 0
    assert buttons > 20
    assert failures == []
