// The viewer: original, reconstruction and difference of a case in three planes, slice by slice.

const PLANES = ["axial", "coronal", "sagittal"];
const COLUMNS = ["original", "reconstruction", "difference"];
const HU_WINDOWS = [
  { name: "Lung", level: -600, width: 1500 },
  { name: "Soft tissue", level: 40, width: 400 },
  { name: "Bone", level: 400, width: 1800 },
  { name: "Brain", level: 40, width: 80 },
];

/** Returns the int16 of a volume: base64, deflate, low bytes before high bytes, zigzag, differences. */
async function unpackVolume(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const numbers = new Int16Array(bytes.length / 2);
  let last = 0;
  for (let n = 0; n < numbers.length; n += 1) {
    const zigzag = bytes[n] | (bytes[n + numbers.length] << 8);
    last = ((last + ((zigzag >>> 1) ^ -(zigzag & 1))) << 16) >> 16;
    numbers[n] = last;
  }
  return numbers;
}

/** Returns the memory layout of each plane. Scans are flipped: superior or anterior up, the patient’s right on the left. */
function geometry(view) {
  const flat = view.shape.length === 2;
  const [depth, height, width] = flat ? [1, ...view.shape] : view.shape;
  const [d, h, w] = flat ? [1, ...view.spacing] : view.spacing;
  const strides = [height * width, width, 1];
  const plane = (name, axis, rowAxis, columnAxis, size, pixel) => ({
    name, axis, rowAxis, columnAxis, turned: !flat,
    rows: size[0], columns: size[1], slices: [depth, height, width][axis],
    sliceStride: strides[axis], rowStride: strides[rowAxis], columnStride: strides[columnAxis],
    tall: size[0] * pixel[0], wide: size[1] * pixel[1],
  });
  if (flat) return [plane("image", 0, 1, 2, [height, width], [h, w])];
  return [
    plane("axial", 0, 1, 2, [height, width], [h, w]),
    plane("coronal", 1, 0, 2, [depth, width], [d, w]),
    plane("sagittal", 2, 0, 1, [depth, height], [d, h]),
  ];
}

/** Returns the windows to choose from: of HU, or of percentiles of the scan. */
function windows(view, numbers) {
  const between = (name, low, high) => ({ name, level: (low + high) / 2, width: high - low || 1 });
  const full = between("Full", view.low, view.high);
  if (view.unit === "HU") return [full, ...HU_WINDOWS];
  const every = Math.max(1, Math.floor(numbers.length / 100000));
  const sample = numbers.filter((_, n) => n % every === 0).sort();
  const share = (part) => view.origin + view.step * sample[Math.round(part * (sample.length - 1))];
  return [full, between("1–99 %", share(0.01), share(0.99))];
}

/** Returns 256 colours interpolated between the given ones, as bytes. */
function ramp(colours) {
  const bytes = new Uint8ClampedArray(256 * 3);
  for (let n = 0; n < 256; n += 1) {
    const place = (n / 255) * (colours.length - 1);
    const left = Math.min(Math.floor(place), colours.length - 2);
    for (let c = 0; c < 3; c += 1)
      bytes[3 * n + c] = colours[left][c] + (place - left) * (colours[left + 1][c] - colours[left][c]);
  }
  return bytes;
}

class Viewer {
  constructor(page, root) {
    this.page = page;
    this.root = root;
    this.grays = ramp([[0, 0, 0], [255, 255, 255]]);
    this.diverging = ramp(page.diverging);
    this.preset = "Full";
    this.crosshair = false;
    this.decoded = new Map();
  }

  /** Shows the case of a view. Decoded cases are cached. */
  async show(view) {
    this.view = view;
    if (!this.decoded.has(view))
      this.decoded.set(view, await Promise.all([unpackVolume(view.original), unpackVolume(view.reconstruction)]));
    if (this.view !== view) return;
    [this.original, this.reconstruction] = this.decoded.get(view);
    this.planes = geometry(view);
    const shape = view.shape.length === 2 ? [1, ...view.shape] : view.shape;
    this.place = shape.map((count, axis) => {
      const [first, stride, full] = this.along(axis);
      return Math.min(count - 1, Math.round((Math.floor(full / 2) - first) / stride));
    });
    this.presets = windows(view, this.original);
    this.limit = view.limit;
    this.build();
    this.choose(this.presets.find(({ name }) => name === this.preset) || this.presets[0]);
  }

  /** Returns the first included voxel, the stride and the number of voxels of the scan along an axis. */
  along(axis) {
    const { first, stride, fullShape } = this.view;
    const n = fullShape.length === 2 ? axis - 1 : axis;
    return n < 0 ? [0, 1, 1] : [first[n], stride[n], fullShape[n]];
  }

  /** Returns the index of a voxel in the whole scan, from 1. */
  fullIndex(axis, index) {
    const [first, stride] = this.along(axis);
    return first + stride * index + 1;
  }

  build() {
    this.readout = element("output", { class: "readout" });
    const planes = this.planes.map((plane) => this.buildPlane(plane));
    this.root.replaceChildren(this.buildControls(), this.buildScales(), ...planes);
    const unit = this.view.unit;
    const strided = this.view.stride.some((stride) => stride > 1);
    if (strided)
      this.root.append(
        element("p", { class: "hint" }, `To keep this page small, it contains ${this.view.shape.join(" × ")} of ${this.view.fullShape.join(" × ")} voxels. The scores are computed from all voxels.`),
        element("details", { class: "hint" }, element("summary", {}, "Middle slices at full resolution"), element("img", { src: this.view.figure, alt: `Middle slices of ${this.view.title} in ${unit}`, loading: "lazy" })),
      );
    this.root.append(
      element("p", { class: "hint keys" }, this.view.shape.length === 2 ? "Point at a picture to read its values." : "Arrow keys, Page Up, Page Down and Shift with the wheel move through the slices of the plane in focus. A click moves the other planes to that voxel."),
    );
  }

  slider(label, settings, changed) {
    const value = element("output", {});
    const input = element("input", { type: "range", ...settings, oninput: () => changed(Number(input.value)) });
    return { row: element("label", { class: "slider" }, element("span", {}, label), input, value), input, value };
  }

  buildControls() {
    const { low, high, unit } = this.view;
    const span = high - low;
    this.buttons = this.presets.map((preset) =>
      element("button", { type: "button", "aria-pressed": "false", onclick: () => this.choose(preset) }, preset.name),
    );
    const free = { level: (level) => this.free({ level }), width: (width) => this.free({ width }) };
    this.level = this.slider("Level", { min: low, max: high, step: span / 1000 }, free.level);
    this.width = this.slider("Width", { min: span / 200, max: span, step: span / 1000 }, free.width);
    this.range = this.slider("Difference", { min: -6, max: 6, step: 1, value: 0 }, (n) => {
      this.limit = this.scaledLimit(n);
      this.draw();
    });
    const cross = element("button", {
      type: "button", class: "cross", "aria-pressed": String(this.crosshair),
      onclick: () => {
        this.crosshair = !this.crosshair;
        cross.setAttribute("aria-pressed", String(this.crosshair));
        this.root.classList.toggle("crossed", this.crosshair);
      },
    }, "Crosshair");
    return element(
      "div",
      { class: "controls" },
      element("div", { class: "buttons", role: "group", "aria-label": `Window in ${unit}` }, this.buttons, this.planes.length > 1 ? cross : null),
      element("div", { class: "sliders" }, this.level.row, this.width.row, this.range.row),
      this.readout,
    );
  }

  /** Returns the limit of the difference, moved by `n` steps along 1, 2, 5, 10, ... */
  scaledLimit(n) {
    const power = Math.floor(Math.log10(this.view.limit) + 1e-9);
    const start = 3 * power + [1, 2, 5].indexOf(Math.round(this.view.limit / 10 ** power)) + n;
    return Number(([1, 2, 5][((start % 3) + 3) % 3] * 10 ** Math.floor(start / 3)).toPrecision(3));
  }

  buildScales() {
    const bar = (colours) => {
      const stops = colours.map((colour) => `rgb(${colour.map(Math.round).join(" ")})`);
      const strip = element("span", { class: "strip" });
      strip.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
      return strip;
    };
    this.ends = COLUMNS.map(() => [element("span"), element("span")]);
    const heads = COLUMNS.map((name, n) =>
      element(
        "div",
        { class: `scale ${name}` },
        element("div", { class: "scale-name" }, n === 2 ? "Reconstruction − original" : sentence(name)),
        element("div", { class: "scale-bar" }, this.ends[n][0], bar(n === 2 ? this.page.diverging : [[0, 0, 0], [255, 255, 255]]), this.ends[n][1]),
      ),
    );
    return element("div", { class: "scales" }, heads);
  }

  buildPlane(plane) {
    const widest = Math.max(...this.planes.map(({ wide }) => wide));
    const tallest = Math.max(...this.planes.map(({ tall }) => tall));
    plane.lines = [];
    plane.canvases = COLUMNS.map((column) => {
      const canvas = element("canvas", { width: plane.columns, height: plane.rows, role: "img" });
      canvas.style.aspectRatio = `${plane.wide} / ${plane.tall}`;
      const lines = [element("i", { class: "across" }), element("i", { class: "down" })];
      plane.lines.push(lines);
      const box = element("div", { class: "picture" }, canvas, lines);
      // All planes have the same scale: the widest fills its column, the tallest keeps its maximum height.
      box.style.setProperty("--shape", widest / tallest);
      box.style.setProperty("--share", plane.wide / widest);
      const at = (event) => this.voxel(plane, canvas, event);
      canvas.addEventListener("pointermove", (event) => this.read(at(event)));
      canvas.addEventListener("pointerleave", () => this.read(null));
      canvas.addEventListener("click", (event) => this.go(at(event)));
      canvas.dataset.plane = plane.name;
      canvas.dataset.column = column;
      return element("div", { class: `cell ${column}` }, box);
    });
    const several = plane.slices > 1;
    const move = (n) => this.move(plane, n);
    plane.slider = this.slider(sentence(plane.name), { min: 0, max: plane.slices - 1, step: 1 }, (n) => move(n));
    const step = (sign, name) =>
      element("button", { type: "button", class: "step", "aria-label": `${name} ${plane.name} slice`, onclick: () => move(this.place[plane.axis] + sign) }, sign < 0 ? "−" : "+");
    const tools = several
      ? element("div", { class: "plane-tools" }, step(-1, "Previous"), plane.slider.row, step(1, "Next"))
      : element("div", { class: "plane-tools" }, sentence(plane.name));
    const pictures = element("div", { class: "pictures", tabindex: several ? 0 : null, role: "group", "aria-label": `${sentence(plane.name)} plane` }, plane.canvases, (plane.facts = element("p", { class: "plane-facts" })));
    pictures.addEventListener("keydown", (event) => {
      const now = this.place[plane.axis];
      const targets = { ArrowUp: now + 1, ArrowRight: now + 1, ArrowDown: now - 1, ArrowLeft: now - 1, PageUp: now + 10, PageDown: now - 10, Home: 0, End: plane.slices - 1 };
      if (!several || !(event.key in targets)) return;
      event.preventDefault();
      move(targets[event.key]);
    });
    // Without Shift, the wheel scrolls the page.
    pictures.addEventListener("wheel", (event) => {
      if (!event.shiftKey || !several) return;
      event.preventDefault();
      move(this.place[plane.axis] - Math.sign(event.deltaY || event.deltaX));
    }, { passive: false });
    return element("div", { class: "plane" }, tools, pictures);
  }

  choose(preset) {
    this.preset = preset.name;
    this.window = { level: preset.level, width: preset.width };
    this.draw();
  }

  free(change) {
    this.preset = null;
    Object.assign(this.window, change);
    this.draw();
  }

  move(plane, index) {
    this.place[plane.axis] = Math.min(plane.slices - 1, Math.max(0, index));
    this.drawPlane(plane);
    this.cross();
  }

  go(place) {
    this.place = place;
    this.draw();
  }

  /** Returns the voxel (d, h, w) under the pointer. */
  voxel(plane, canvas, event) {
    const box = canvas.getBoundingClientRect();
    const part = (offset, size, count) => Math.min(count - 1, Math.max(0, Math.floor((offset / size) * count)));
    const row = part(event.clientY - box.top, box.height, plane.rows);
    const column = part(event.clientX - box.left, box.width, plane.columns);
    const place = [...this.place];
    place[plane.rowAxis] = plane.turned ? plane.rows - 1 - row : row;
    place[plane.columnAxis] = plane.turned ? plane.columns - 1 - column : column;
    return place;
  }

  read(place) {
    const { shape, origin, step, unit } = this.view;
    if (!place) {
      this.readout.textContent = "";
      return;
    }
    const [height, width] = shape.slice(-2);
    const index = (place[0] * height + place[1]) * width + place[2];
    const [a, b] = [this.original[index], this.reconstruction[index]].map((n) => origin + step * n);
    const where = place.map((n, axis) => this.fullIndex(axis, n)).slice(3 - shape.length);
    // No more decimals than the quantisation step of the page justifies.
    const places = Math.max(0, -Math.floor(Math.log10(step)) - (step < 0.5 ? 1 : 0));
    const format = (value) => formatNumber(value, Math.min(6, step >= 0.2 ? 0 : places));
    this.readout.textContent = `voxel ${where.join(", ")}   original ${format(a)}   reconstruction ${format(b)}   difference ${format(b - a)} ${unit}`;
  }

  draw() {
    const { level, width } = this.window;
    const unit = this.view.unit;
    const format = (value) => formatNumber(Math.abs(value) >= 10 ? Math.round(value) : value);
    for (const [tool, value] of [[this.level, level], [this.width, width]]) {
      tool.input.value = value;
      tool.value.textContent = `${format(value)} ${unit}`;
    }
    this.range.value.textContent = `± ${format(this.limit)} ${unit}`;
    this.presets.forEach(({ name }, n) => this.buttons[n].setAttribute("aria-pressed", String(name === this.preset)));
    const ends = [level - width / 2, level + width / 2].map(format);
    [ends, ends, [`−${format(this.limit)}`, `+${format(this.limit)}`]].forEach((pair, n) =>
      pair.forEach((text, end) => (this.ends[n][end].textContent = text)),
    );
    this.planes.forEach((plane) => this.drawPlane(plane));
    this.cross();
  }

  drawPlane(plane) {
    const { origin, step, unit } = this.view;
    const { original, reconstruction } = this;
    const index = this.place[plane.axis];
    const low = this.window.level - this.window.width / 2;
    const gray = 255 / Math.max(this.window.width, 1e-30);
    const images = plane.canvases.map((cell) => {
      const context = cell.querySelector("canvas").getContext("2d");
      return { context, image: context.createImageData(plane.columns, plane.rows) };
    });
    const paint = (n, pixel, table, shade) => {
      const colour = 3 * Math.round(Math.min(255, Math.max(0, shade)));
      const data = images[n].image.data;
      data[pixel] = table[colour];
      data[pixel + 1] = table[colour + 1];
      data[pixel + 2] = table[colour + 2];
      data[pixel + 3] = 255;
    };
    let [sum, difference, largest] = [0, 0, 0];
    let pixel = 0;
    for (let r = 0; r < plane.rows; r += 1) {
      const row = index * plane.sliceStride + (plane.turned ? plane.rows - 1 - r : r) * plane.rowStride;
      for (let c = 0; c < plane.columns; c += 1, pixel += 4) {
        const at = row + (plane.turned ? plane.columns - 1 - c : c) * plane.columnStride;
        const before = origin + step * original[at];
        const after = origin + step * reconstruction[at];
        sum += before;
        difference += Math.abs(after - before);
        largest = Math.max(largest, Math.abs(after - before));
        paint(0, pixel, this.grays, (before - low) * gray);
        paint(1, pixel, this.grays, (after - low) * gray);
        paint(2, pixel, this.diverging, ((after - before) / this.limit + 1) * 127.5);
      }
    }
    const number = this.fullIndex(plane.axis, index);
    const of = this.along(plane.axis)[2];
    images.forEach(({ context, image }, n) => {
      context.putImageData(image, 0, 0);
      const column = n === 2 ? `difference up to ${formatNumber(this.limit)} ${unit}` : COLUMNS[n];
      context.canvas.setAttribute("aria-label", `${plane.name} slice ${number} of ${of}, ${column}`);
    });
    const pixels = plane.rows * plane.columns;
    images[0].context.canvas.dataset.mean = sum / pixels;
    plane.facts.textContent = `Absolute difference in this slice: mean ${formatNumber(difference / pixels)} ${unit}, maximum ${formatNumber(largest)} ${unit}.`;
    plane.slider.input.value = index;
    plane.slider.value.textContent = `${number} / ${of}`;
  }

  /** Moves the lines of the crosshair to the positions of the other planes. */
  cross() {
    for (const plane of this.planes) {
      const share = (axis, count) => {
        const part = (this.place[axis] + 0.5) / count;
        return `${100 * (plane.turned ? 1 - part : part)}%`;
      };
      for (const [across, down] of plane.lines) {
        across.style.top = share(plane.rowAxis, plane.rows);
        down.style.left = share(plane.columnAxis, plane.columns);
      }
    }
  }
}

/** Returns the scores of the case of a view. */
function caseScores(view, page) {
  const row = page.cases.names.indexOf(view.title);
  const own = page.parsed.filter((score) => !score.region && !score.reference && page.cases.scores[score.name]);
  if (row < 0) return [];
  return own.slice(0, 6).map((score) => {
    const value = formatNumber(number(page.cases.scores[score.name][row]), score.places);
    return element("span", {}, `${score.label} `, element("b", {}, `${value} ${score.unit}`.trim()));
  });
}

function viewerSection(page) {
  if (!page.views.length) return null;
  const root = element("div", { class: "viewer" });
  const viewer = new Viewer(page, root);
  const title = element("h3", { class: "case-name" });
  const facts = element("p", { class: "case-facts" });
  const buttons = page.views.map((view) => element("button", { type: "button", onclick: () => show(view) }, page.chosen ? `${sentence(view.label)} ${page.chosen}` : sentence(view.label)));
  async function show(view) {
    buttons.forEach((button, n) => button.setAttribute("aria-pressed", String(page.views[n] === view)));
    title.textContent = view.title;
    facts.replaceChildren(...caseScores(view, page));
    if (typeof DecompressionStream === "undefined") {
      const note = "This browser cannot unpack the volumes, because it has no DecompressionStream. Their middle slices:";
      root.replaceChildren(element("p", { class: "hint" }, note), element("img", { src: view.figure, alt: `Middle slices of ${view.title}` }));
    } else await viewer.show(view);
  }
  page.ready = show(page.views[0]);
  const about = "Radiological orientation: superior or anterior up, the patient’s right on the left.";
  const flat = page.views[0].shape.length === 2;
  return section(
    "views",
    "Cases",
    flat ? null : about,
    element("div", { class: "lightbox" }, element("div", { class: "case-head" }, element("div", { class: "buttons", role: "group", "aria-label": "Case" }, buttons), title, facts), root),
  );
}
