// SVG charts: distributions of scores over cases, and training curves.

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

/** Returns a chart of one score: a dot for each case, mean and interval, with labels for the cases of the viewer. */
function distribution(score, cases, labels) {
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
  output.textContent = infinite ? `${infinite} at ∞` : `${values.length} cases`;
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
  let end = -Infinity;
  const names = marks.flatMap(({ x, y, label }) => {
    const text = label.join(", ");
    const half = text.length * 2.9;
    const place = Math.min(Math.max(x, left + half, end + half + 6), right - half);
    end = place + half;
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

function distributionSection(scores, cases, views) {
  const labels = new Map();
  for (const view of views) labels.set(view.title, [...(labels.get(view.title) || []), view.label]);
  const own = scores.filter((score) => !score.region && !score.reference && cases.scores[score.name]);
  const charts = own.map((score) => distribution(score, cases, labels)).filter(Boolean);
  if (cases.names.length < 2 || !charts.length) return null;
  const chosen = cases.names.length < cases.every ? `, out of ${cases.names.length} evenly spaced cases of ${cases.every}` : "";
  const about = `Each dot is a case${chosen}; the line is the mean, the band its 95 % confidence interval.`;
  return section("distribution", "Distribution", about, element("div", { class: "charts" }, charts));
}

const CURVES = { kl: "KL divergence", kl_weight: "KL weight", lr: "Learning rate", grad_norm: "Gradient norm" };

/** Returns a chart of a column of metrics.csv, with a line for each split. The scale is logarithmic if the values span more than a factor of 30. */
function curve({ name, alone, series }) {
  const height = 178;
  const [left, right, top, base] = [48, WIDTH - 8, 10, 150];
  const splits = Object.keys(series);
  const points = splits.flatMap((split) => series[split]);
  const ys = points.map(([, y]) => y);
  const [x0, x1] = [Math.min(...points.map(([x]) => x)), Math.max(...points.map(([x]) => x))];
  let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  const logarithmic = y0 > 0 && y1 / y0 > 30 && name !== "lr";
  const scale = logarithmic ? Math.log10 : (y) => y;
  [y0, y1] = [scale(y0), scale(y1)];
  const margin = (y1 - y0) * 0.05 || Math.abs(y0) * 0.05 || 1;
  const yAt = (y) => base - ((scale(y) - y0 + margin) / (y1 - y0 + 2 * margin)) * (base - top);
  const xAt = (x) => (x1 === x0 ? (left + right) / 2 : left + ((x - x0) / (x1 - x0)) * (right - left));
  let marks = y0 === y1 ? [y0] : ticks(y0 - margin, y1 + margin, 5);
  if (logarithmic) {
    const powers = ticks(Math.ceil(y0), Math.floor(y1)).filter(Number.isInteger);
    marks = powers.length > 1 ? powers : [y0, y1];
  }
  const grid = marks.map((mark) => {
    const y = logarithmic ? 10 ** mark : mark;
    return [line(left, yAt(y), right, yAt(y), "grid"), textAt(left - 5, yAt(y) + 3.5, "end", logarithmic ? formatNumber(Number(y.toPrecision(2))) : tickText(y))];
  });
  const steps = ticks(x0, x1, 4).map((x) => textAt(xAt(x), base + 15, xAt(x) > right - 16 ? "end" : "middle", tickText(x)));
  const paths = splits.map((split) => {
    const d = series[split].map(([x, y], n) => `${n ? "L" : "M"}${xAt(x).toFixed(1)} ${yAt(y).toFixed(1)}`).join("");
    const dots = series[split].length > 40 ? [] : series[split].map(([x, y]) => drawing("circle", { cx: xAt(x), cy: yAt(y), r: 2, class: `point ${split}` }));
    return [drawing("path", { d, class: `curve ${split}` }), dots];
  });
  const output = element("output", {});
  const last = () => splits.map((split) => `${split} ${formatNumber(series[split][series[split].length - 1][1])}`).join("  ");
  output.textContent = last();
  const cursor = line(0, top, 0, base, "cursor");
  const chart = drawing(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `${name} over the steps, at the end ${last()}`, onpointermove: follow, onpointerleave: leave },
    grid, steps, textAt(right, height - 2, "end", "step", "faint"), paths, cursor,
  );
  function follow(event) {
    const box = chart.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * WIDTH;
    const nearest = (split) => series[split].reduce((a, b) => (Math.abs(xAt(b[0]) - place) < Math.abs(xAt(a[0]) - place) ? b : a));
    const points = splits.map((split) => [split, nearest(split)]);
    const step = points.map(([, point]) => point[0]).reduce((a, b) => (Math.abs(xAt(b) - place) < Math.abs(xAt(a) - place) ? b : a));
    cursor.setAttribute("x1", xAt(step));
    cursor.setAttribute("x2", xAt(step));
    cursor.classList.add("on");
    output.textContent = `step ${formatNumber(step)}  ` + points.map(([split, point]) => `${split} ${formatNumber(point[1])}`).join("  ");
  }
  function leave() {
    cursor.classList.remove("on");
    output.textContent = last();
  }
  const label = METRICS[name] ? METRICS[name].label : CURVES[name] || sentence(name);
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
    element("figure", { class: "card probe" }, element("figcaption", {}, element("strong", {}, caption)), element("img", { src: source, alt: caption, loading: "lazy" })),
  );
  return section("probes", "Probes", "Decoded latents after adding noise, interpolating and sampling.", element("div", { class: "probes" }, figures));
}
