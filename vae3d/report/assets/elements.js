"use strict";
// Helpers for elements, names and numbers. All text becomes text nodes, so that names from files cannot be markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** Returns an element: element("p", {class: "note"}, "text", another). `onclick` and the like are listeners. */
const element = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

const drawing = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** Returns a number from JSON, where null is NaN and "Infinity" is infinite. */
const number = (value) => (value === null || value === undefined ? NaN : Number(value));

const minus = (text) => text.replace(/-/g, "\u2212");

/** Returns the text with thin spaces between thousands. */
const groupThousands = (text) => text.replace(/\B(?=(\d{3})+(?!\d))(?<!\.\d*)/g, "\u202f");

/** Returns a number as text with `places` decimals or four significant digits; – for NaN. */
function formatNumber(value, places = null) {
  if (Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (places !== null) return minus(groupThousands(value.toFixed(places)));
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e6 || size < 1e-4) {
    const [digits, power] = value.toExponential(2).split("e");
    return minus(`${Number(digits)}e${Number(power)}`);
  }
  if (size >= 1000) return minus(groupThousands(value.toFixed(0)));
  return minus(value.toPrecision(4).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, ""));
}

const REFERENCES = {
  "": { label: "Model" },
  scan: { label: "Model, on disk", about: "the reconstruction against the scan on disk, on its own grid" },
  floor: { label: "Floor", about: "the error of clipping and resampling alone, without any VAE, against the scan on disk" },
  downsample: { label: "Downsampled", about: "averaging to as many values as the latent has, and interpolation" },
  jpeg: { label: "JPEG", about: "JPEG compression to as many bytes as the latent takes in float16" },
  jpeg2000: { label: "JPEG 2000", about: "JPEG 2000 of all slices, with 12 bits a voxel, in as many bytes as the latent takes in float16" },
  jpeg2000_3d: { label: "JPEG 2000, 3D", about: "the same after a wavelet along the slices" },
};

const words = (name) => name.replace(/_/g, " ");
const sentence = (name) => words(name).replace(/^./, (letter) => letter.toUpperCase());
const regionLabel = (region) => (region ? sentence(region) : "Whole volume");
const referenceLabel = (name) => (REFERENCES[name] ? REFERENCES[name].label : sentence(name));

/** Returns a score with the parts of its name: "psnr/bone@floor" is a metric, a region and a reference. */
function parseScore(score) {
  const reference = (score.name.match(/@([^/]*)/) || ["", ""])[1];
  const [metric, region = ""] = score.name.replace(/@[^/]*/, "").split("/");
  return {
    ...score,
    places: score.places ?? fourDigits(number(score.mean)),
    metric,
    region,
    reference,
    mean: number(score.mean),
    std: number(score.std),
    low: number(score.low),
    high: number(score.high),
    min: number(score.min),
    max: number(score.max),
  };
}

/** Returns the decimals of a number with four significant digits; null if it is written with an exponent. */
function fourDigits(value) {
  const size = Math.abs(value);
  return size >= 1e-4 && size < 1e6 ? Math.max(0, 3 - Math.floor(Math.log10(size))) : null;
}

/** Returns the interval of the mean as text; of too few cases for one, their range; of one case, null. */
function interval(score) {
  // A narrow cell breaks the line before the numbers only.
  const between = (low, high) => `${formatNumber(low, score.places)}\u00a0to\u00a0${formatNumber(high, score.places)}`;
  if (!Number.isNaN(score.low)) return `95\u00a0%\u00a0CI ${between(score.low, score.high)}`;
  if (score.infinite) return score.infinite;
  return score.cases > 1 ? `range ${between(score.min, score.max)}` : null;
}

const countCases = (count) => (count === 1 ? "1 case" : `${formatNumber(count)} cases`);

/** Returns a value of a protocol or configuration as text; tables have a line for each name. */
function asText(value) {
  if (value === null || value === undefined) return "–";
  if (Array.isArray(value)) return value.length ? value.map(asText).join(", ") : "none";
  if (typeof value === "object")
    return Object.entries(value).map(([key, item]) => `${key}: ${asText(item)}`).join("\n");
  if (typeof value === "boolean") return value ? "yes" : "no";
  return String(value);
}

/** Returns text in a scrolling block with a copy button. */
function copyable(text, label) {
  const block = element("pre", { tabindex: 0, "aria-label": label }, text);
  const button = element("button", { type: "button", class: "copy", onclick: copy }, "Copy");
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(block);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }
  return element("div", { class: "copyable" }, button, block);
}

/** Returns a section of the page. The navigation lists all sections by their headings. */
function section(id, heading, about, ...children) {
  const head = element("h2", {}, heading);
  const note = about ? element("p", { class: "about" }, about) : null;
  return element("section", { id, "aria-label": heading }, head, note, children);
}

/** Returns a frame in which a wide table scrolls horizontally. */
const scrollFrame = (label, table) =>
  element("div", { class: "frame", tabindex: 0, role: "region", "aria-label": label }, table);
