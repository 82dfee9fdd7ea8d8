// SVG charts: distributions of scores over cases, and the readout of training curves, which come drawn.

const WIDTH = 340;

/** Returns round numbers from low to high, about `count` of them. */
function ticks(low, high, count = 4) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw * 0.999);
  const values = [];
  for (let n = Math.ceil(low / step - 1e-9); n <= high / step + 1e-9; n += 1) values.push(n * step);
  return values;
}

const tickText = (value) => formatNumber(Number(value.toPrecision(6)));

const textAt = (x, y, anchor, text, kind = "") =>
  drawing("text", { x, y, "text-anchor": anchor, class: kind }, text);

const line = (x1, y1, x2, y2, kind) => drawing("line", { x1, y1, x2, y2, class: kind });

/** Returns the vertical offsets of dots in a swarm plot. Dots overlap where a column has more than `room` pixels of them. */
function swarm(positions, radius, room) {
  const columns = positions.map((position) => Math.round(position / (2 * radius)));
  const counts = new Map();
  for (const column of columns) counts.set(column, (counts.get(column) || 0) + 1);
  const gap = Math.min(2 * radius, room / Math.max(1, ...counts.values()));
  const used = new Map();
  return columns.map((column) => {
    const rank = used.get(column) || 0;
    used.set(column, rank + 1);
    return (rank % 2 ? 1 : -1) * Math.ceil(rank / 2) * gap;
  });
}

/** Returns a chart of one score: a dot for each case, mean and interval, with labels for its own best, median and worst case. */
function distribution(score, cases, ranks) {
  const labels = new Map();
  for (const [label, name] of Object.entries(ranks)) labels.set(name, [...(labels.get(name) || []), label]);
  const height = 128;
  const [left, right, base, middle] = [14, WIDTH - 14, 100, 58];
  const every = cases.scores[score.name].map(number);
  const rows = every.map((_, row) => row).filter((row) => Number.isFinite(every[row]));
  const infinite = every.filter((value) => Math.abs(value) === Infinity).length;
  const values = rows.map((row) => every[row]);
  if (!values.length && !infinite) return null;
  const [smallest, largest] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const margin = (largest - smallest) * 0.04 || Math.abs(smallest) * 0.01 || 1;
  const [low, high] = [smallest - margin, largest + margin];
  const at = (value) => left + ((value - low) / (high - low)) * (right - left);
  const radius = values.length > 400 ? 2 : values.length > 80 ? 2.8 : 3.6;
  const heights = swarm(values.map(at), radius, 60);
  const output = element("output", {});
  output.textContent = infinite ? `${infinite} at ∞` : countCases(values.length);
  const dots = rows.map((row, n) => {
    const name = cases.names[row];
    const description = `${name}: ${formatNumber(every[row], score.places)} ${score.unit}`;
    const label = labels.get(name);
    const kind = label ? `dot ${label[0]}` : "dot";
    return drawing(
      "circle",
      { cx: at(every[row]), cy: middle + heights[n], r: label ? radius + 1.4 : radius, class: kind, onpointerenter: () => (output.textContent = description) },
      drawing("title", {}, description),
    );
  });
  // Labelled dots are drawn last, on top of the others.
  dots.sort((a, b) => a.classList.length - b.classList.length);
  const marks = rows.flatMap((row, n) => {
    const label = labels.get(cases.names[row]);
    return label ? [{ x: at(every[row]), y: middle + heights[n], label }] : [];
  });
  marks.sort((a, b) => a.x - b.x);
  // Side by side from the left, then back from the right end where they reach beyond it.
  const halves = marks.map(({ label }) => label.join(", ").length * 2.9);
  const places = [];
  let end = left - 6;
  marks.forEach(({ x }, n) => {
    places.push(Math.max(x, end + 6 + halves[n]));
    end = places[n] + halves[n];
  });
  let start = right + 6;
  for (let n = marks.length - 1; n >= 0; n -= 1) {
    places[n] = Math.min(places[n], start - 6 - halves[n]);
    start = places[n] - halves[n];
  }
  const names = marks.flatMap(({ x, y, label }, n) => {
    const text = label.join(", ");
    const place = places[n];
    return [
      line(x, y - radius - 2, place, 17, `lead ${label[0]}`),
      textAt(place, 13, "middle", text, `mark ${label[0]}`),
    ];
  });
  const mean = Number.isFinite(score.mean) ? [line(at(score.mean), 24, at(score.mean), base - 6, "mean")] : [];
  const band = Number.isFinite(score.low)
    ? [drawing("rect", { x: Math.max(left, at(score.low)), y: 24, width: Math.max(1, Math.min(right, at(score.high)) - Math.max(left, at(score.low))), height: base - 30, class: "band" })]
    : [];
  const axis = ticks(smallest, largest).map((value) => [
    line(at(value), base, at(value), base + 4, "axis"),
    textAt(at(value), base + 16, "middle", tickText(value)),
  ]);
  const title = `${score.label} of the cases: mean ${formatNumber(score.mean, score.places)}, from ${formatNumber(smallest, score.places)} to ${formatNumber(largest, score.places)}`;
  const chart = drawing(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": title },
    band, mean, line(left, base, right, base, "axis"), values.length > 1 ? axis : null, dots, names,
    values.length === 1 ? textAt(at(values[0]), base + 16, "middle", formatNumber(values[0], score.places)) : null,
  );
  return element(
    "figure",
    { class: "card" },
    element("figcaption", {}, element("strong", {}, score.label, score.unit ? element("span", { class: "unit" }, ` ${score.unit}`) : null), output),
    chart,
  );
}

function distributionSection(scores, cases, ranks) {
  const own = scores.filter((score) => !score.region && !score.reference && cases.scores[score.name]);
  const charts = own.map((score) => distribution(score, cases, ranks[score.name] || {})).filter(Boolean);
  if (cases.names.length < 2 || !charts.length) return null;
  const chosen = cases.names.length < cases.every ? `, out of ${cases.names.length} evenly spaced cases of ${cases.every}` : "";
  const about = `Each dot is a case${chosen}; the line is the mean${own.some((score) => !Number.isNaN(score.low)) ? ", the band its 95 % confidence interval" : ""}. Best, median and worst are those of each score.`;
  return section("distribution", "Distribution", about, element("div", { class: "charts" }, charts));
}

const CURVES = { kl: "KL divergence", kl_weight: "KL weight", lr: "Learning rate", grad_norm: "Gradient norm" };

/** Returns an element of the text of an SVG. */
function drawn(svg) {
  return document.importNode(new DOMParser().parseFromString(svg, "image/svg+xml").documentElement, true);
}

function valueSection(values) {
  if (!values) return null;
  return section("values", "Values", `${values.text} The vertical axis is logarithmic.`, element("figure", { class: "card values" }, drawn(values.svg)));
}

/** Returns a table with a row for each of `rows`, [name, ...values of `heads`], each value a mean with its range. */
function rangeTable(label, heads, rows) {
  const cell = (value) => {
    if (!value) return element("td", { class: "none" }, "–");
    const [mean, low, high] = value.map(number).map((each) => formatNumber(each, 3));
    return element("td", {}, mean, low === high ? null : element("small", {}, `${low} to ${high}`));
  };
  const body = rows.map(([name, about, ...values]) =>
    element("tr", {}, element("th", { scope: "row" }, name, about ? element("small", {}, about) : null), values.map(cell)));
  const table = element("table", {}, element("thead", {}, element("tr", {}, heads.map((head) => columnHead(head)))), element("tbody", {}, body));
  return scrollFrame(label, table);
}

function sharpnessSection(sharpness) {
  if (!sharpness) return null;
  const { text, charts, bands, steps } = sharpness;
  return section(
    "sharpness",
    "Sharpness",
    text,
    element("div", { class: "spectra" }, charts.map((svg) => element("figure", { class: "card" }, drawn(svg)))),
    element(
      "div",
      { class: "spectra" },
      rangeTable("Bands of frequency", ["Cycles per voxel", "Power kept", "FSC"], bands),
      steps.rows.length ? rangeTable("Staircase", ["Grid", ...steps.axes], steps.rows) : null,
    ),
  );
}

function rateSection(rates) {
  if (!rates) return null;
  return section("rates", "Rate and distortion", `${rates.text} The numbers are in rates.csv, next to this file.`, element("figure", { class: "card rates" }, drawn(rates.svg)));
}

/** Returns the chart of a column of metrics.csv; its readout shows the values at the pointer, else the last ones. */
function curve({ name, label: known, alone, series, svg, axis: [low, high, start, end] }) {
  const splits = Object.keys(series);
  const chart = drawn(svg);
  const { width, height } = chart.viewBox.baseVal;
  const cursor = line(0, 10, 0, height - 28, "cursor");
  chart.append(cursor);
  const output = element("output", {});
  const last = () => splits.map((split) => `${split} ${formatNumber(series[split][series[split].length - 1][1])}`).join("  ");
  output.textContent = last();
  function follow(event) {
    const box = chart.getBoundingClientRect();
    const pointed = low + ((((event.clientX - box.left) / box.width) * width - start) / (end - start)) * (high - low);
    const nearer = (a, b) => (Math.abs(b[0] - pointed) < Math.abs(a[0] - pointed) ? b : a);
    const points = splits.map((split) => series[split].reduce(nearer));
    const [step] = points.reduce(nearer);
    const x = start + ((step - low) / (high - low)) * (end - start);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.classList.add("on");
    output.textContent = `step ${formatNumber(step)}  ` + points.map((point, n) => `${splits[n]} ${formatNumber(point[1])}`).join("  ");
  }
  function leave() {
    cursor.classList.remove("on");
    output.textContent = last();
  }
  chart.addEventListener("pointermove", follow);
  chart.addEventListener("pointerleave", leave);
  const label = known || CURVES[name] || sentence(name);
  const title = alone ? `${label}, ${splits[0] === "val" ? "validation" : "loss term"}` : label;
  return element("figure", { class: "card" }, element("figcaption", {}, element("strong", {}, title), output), chart);
}

function curveSection(curves) {
  if (!curves.length) return null;
  const order = ["loss", "psnr", "ssim"];
  const rank = ({ name }) => (name === "lr" ? 9 : order.indexOf(name) + 1 || 5);
  const charts = [...curves].sort((a, b) => rank(a) - rank(b)).map(curve);
  const splits = unique(curves.flatMap(({ series }) => Object.keys(series)));
  const legend = element("p", { class: "legend" }, splits.map((split) => element("span", { class: `key ${split}` }, { train: "training", val: "validation" }[split] || split)));
  return section("training", "Training", "In long curves, each point is the mean of consecutive steps.", legend, element("div", { class: "charts" }, charts));
}

function probeSection(pictures) {
  if (!pictures.length) return null;
  const figures = pictures.map(({ caption, source }) =>
    element("figure", { class: "card probe" }, element("figcaption", {}, element("strong", {}, sentence(caption))), element("img", { src: source, alt: caption, loading: "lazy" })),
  );
  return section("probes", "Probes", "Decoded latents after adding noise, interpolating, sampling, and scaling, flipping and turning the grid.", element("div", { class: "probes" }, figures));
}
