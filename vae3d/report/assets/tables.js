// The sections with tables.

/** Returns tiles with the five most important scores. */
function headline(scores) {
  const plain = scores.filter((score) => !score.region && !score.reference);
  return plain.slice(0, 5).map((score) => {
    const floor = scores.find((s) => s.metric === score.metric && !s.region && s.reference === "floor");
    return element(
      "div",
      { class: "tile" },
      element("div", { class: "tile-label" }, score.label),
      element(
        "div",
        { class: "tile-value" },
        formatNumber(score.mean, score.places),
        score.unit ? element("span", { class: "unit" }, ` ${score.unit}`) : null,
      ),
      element("div", { class: "tile-note" }, interval(score) || countCases(score.cases)),
      floor ? element("div", { class: "tile-note" }, `floor ${Number.isNaN(floor.mean) ? interval(floor) : formatNumber(floor.mean, floor.places)}`) : null,
    );
  });
}

/** Returns the standard deviation over the cases; – for a single case or infinite values. */
const deviation = (score) => (score.cases < 2 || !Number.isFinite(score.mean) ? "–" : formatNumber(score.std, score.places));

/** Returns a cell with a mean and its interval, and the number of cases if some lack the score. */
function meanCell(score, every) {
  if (!score) return element("td", { class: "none" }, "–");
  const notes = [interval(score), score.cases < every ? `${score.cases} of ${every}` : null];
  return element(
    "td",
    { title: `standard deviation ${deviation(score)}, ${countCases(score.cases)}` },
    formatNumber(score.mean, score.places),
    notes.filter(Boolean).map((note) => element("small", {}, note)),
  );
}

const metricHead = (score) =>
  element(
    "th",
    { scope: "row" },
    score.label,
    element("small", {}, [score.unit, score.better].filter(Boolean).join(", ")),
  );

const columnHead = (label, title) => element("th", { scope: "col", title }, label);

const unique = (values) => [...new Set(values)];

function summarySection(scores, every) {
  const whole = scores.filter((score) => !score.region);
  const references = unique(["", ...whole.map((score) => score.reference)]);
  const rows = unique(whole.map((score) => score.metric)).map((metric) => {
    const of = whole.filter((score) => score.metric === metric);
    const model = of.find((score) => !score.reference);
    return element(
      "tr",
      {},
      metricHead(of[0]),
      references.map((reference) => meanCell(of.find((score) => score.reference === reference), every)),
      element("td", {}, model ? deviation(model) : "–"),
    );
  });
  const heads = references.map((name) => columnHead(referenceLabel(name), (REFERENCES[name] || {}).about));
  const described = references.filter((name) => name && REFERENCES[name]);
  const about =
    "Means over the cases, with their 95 % confidence intervals (Student t, within the values that are possible), or with the range of fewer than six cases." +
    described.map((name) => `\n${referenceLabel(name)}: ${REFERENCES[name].about}.`).join("");
  const table = element(
    "table",
    {},
    element("thead", {}, element("tr", {}, columnHead("Metric"), heads, columnHead("SD", "of the model, over the cases"))),
    element("tbody", {}, rows),
  );
  return section("summary", "Summary", about, scrollFrame("Summary", table));
}

function regionSection(scores, every) {
  const own = scores.filter((score) => !score.reference);
  const regions = unique(own.map((score) => score.region));
  if (regions.length < 2) return null;
  const inRegions = unique(own.filter((score) => score.region).map((score) => score.metric));
  const find = (metric, region) => own.find((s) => s.metric === metric && s.region === region);
  const rows = regions.map((region) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, regionLabel(region)),
      inRegions.map((metric) => meanCell(find(metric, region), every)),
    ),
  );
  const heads = inRegions.map((metric) => {
    const score = own.find((s) => s.metric === metric && s.region);
    const unit = [score.unit, score.better].filter(Boolean).join(", ");
    return element("th", { scope: "col" }, score.label, element("small", {}, unit));
  });
  const table = element(
    "table",
    {},
    element("thead", {}, element("tr", {}, columnHead("Region"), heads)),
    element("tbody", {}, rows),
  );
  const about = "The scores of the model in regions of the scan. Regions are windows of the values of the scan, no segmentation. The peak of a PSNR is the width of the whole data range.";
  return section("regions", "Regions", about, scrollFrame("Regions", table));
}

/** Returns the table of all cases. A click on a column head sorts by it; cases without the score come last. */
function casesSection(scores, cases) {
  const present = scores.filter((score) => cases.scores[score.name]);
  const main = present.filter((score) => !score.region && !score.reference);
  const state = { by: null, down: false, filter: "", all: false };
  const head = element("thead");
  const body = element("tbody");
  const count = element("output", { class: "count" });

  const valueOf = (by) => (row) =>
    by === "case" ? cases.names[row] : by === "low" ? number(cases.ranges[row][0])
      : by === "high" ? number(cases.ranges[row][1]) : number(cases.scores[by][row]);

  function order() {
    const query = state.filter.toLowerCase();
    const rows = cases.names.map((_, row) => row).filter((row) => cases.names[row].toLowerCase().includes(query));
    if (state.by === null) return rows;
    const value = valueOf(state.by);
    const sign = state.down ? -1 : 1;
    return rows.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (state.by === "case") return sign * x.localeCompare(y, undefined, { numeric: true });
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return x === y ? 0 : sign * (x < y ? -1 : 1);
    });
  }

  function sortHead(by, label, small) {
    const sorted = state.by === by ? (state.down ? "descending" : "ascending") : "none";
    const button = element(
      "button",
      { type: "button", class: "sort", onclick: () => { state.down = state.by === by && !state.down; state.by = by; draw(); } },
      label,
      small ? element("small", {}, small) : null,
    );
    return element("th", { scope: "col", "aria-sort": sorted }, button);
  }

  function draw() {
    const columns = state.all ? present : main;
    const detail = (s) => [s.region && words(s.region), s.reference && referenceLabel(s.reference), s.unit];
    head.replaceChildren(
      element(
        "tr",
        {},
        sortHead("case", "Case"),
        columns.map((score) => sortHead(score.name, score.label, detail(score).filter(Boolean).join(", "))),
        sortHead("low", "Range from"),
        sortHead("high", "to"),
      ),
    );
    const rows = order();
    body.replaceChildren(
      ...rows.map((row) =>
        element(
          "tr",
          {},
          element("th", { scope: "row" }, cases.names[row]),
          columns.map((score) => element("td", {}, formatNumber(number(cases.scores[score.name][row]), score.places))),
          cases.ranges[row].map((end) => element("td", {}, formatNumber(number(end)))),
        ),
      ),
    );
    count.textContent = `${rows.length} of ${countCases(cases.every)}`;
  }

  draw();
  const capped = cases.names.length < cases.every;
  const about = capped
    ? `${cases.names.length} evenly spaced cases of ${cases.every}; all are in scores.csv. Click a column head to sort.`
    : "Click a column head to sort.";
  const tools = element(
    "div",
    { class: "tools" },
    element("input", {
      type: "search", placeholder: "Find a case", "aria-label": "Find a case",
      oninput: (event) => { state.filter = event.target.value; draw(); },
    }),
    present.length > main.length
      ? element("label", {}, element("input", {
          type: "checkbox",
          onchange: (event) => { state.all = event.target.checked; draw(); },
        }), " regions and references")
      : null,
    count,
  );
  const frame = scrollFrame("All cases", element("table", { class: "cases" }, head, body));
  frame.classList.add("tall");
  return section("cases", "All cases", about, tools, frame);
}

/** Returns a cell with a number and a bar of its share of the largest one. */
function barCell(value, largest) {
  const bar = element("span", { class: "meter", "aria-hidden": "true" }, element("span"));
  bar.firstChild.style.width = `${100 * Math.min(1, Math.max(0, value / largest || 0))}%`;
  return element("td", { class: "with-bar" }, bar, formatNumber(value));
}

/** Returns factors as text with six digits, as the model card and the terminal have them. */
function factorText(factors) {
  const six = (value) => (typeof value === "number" ? Number(value.toPrecision(6)) : Array.isArray(value) ? value.map(six) : value);
  return factors.map(([name, value]) => `${name}: ${JSON.stringify(six(value))}`).join("\n");
}

/** Returns a sentence on the entries of the codebook that latents use. */
function codebookText(codebook) {
  const whole = (value) => Math.round(value).toLocaleString("en");
  return ` ${whole(codebook.used)} of ${whole(codebook.size)} entries of the codebook are used; perplexity ${whole(codebook.perplexity)}, ${formatNumber(codebook.bits)} bits a latent voxel.`;
}

function latentSection(latents, trained, cases) {
  const channels = latents.channels || [];
  if (!Object.keys(latents).length) return null;
  const largest = Math.max(...channels.map((channel) => number(channel.kl)).filter(Number.isFinite), 1e-12);
  const codebook = latents.codebook;
  const rows = channels.map((channel, index) =>
    element(
      "tr",
      { class: channel.active ? "" : "idle" },
      element("th", { scope: "row" }, String(index)),
      element("td", { class: "state" }, channel.active ? "active" : "idle"),
      element("td", {}, formatNumber(number(channel.mean))),
      element("td", {}, formatNumber(number(channel.std))),
      barCell(number(channel.noise_share), 1),
      codebook ? barCell(codebook.levels_used[index], codebook.levels[index]) : barCell(number(channel.kl), largest),
    ),
  );
  const heads = ["Channel", "State", "Mean", "SD", "Noise share", codebook ? "Levels used" : "KL"].map((name) => columnHead(name));
  const table = element(
    "table",
    { class: "latents" },
    element("thead", {}, element("tr", {}, heads)),
    element("tbody", {}, rows),
  );
  const factors = Object.entries(latents).filter(([name]) => !["channels", "active_channels", "elements", "codebook"].includes(name));
  const own = trained ? factorText(["shift_factor", "scaling_factor", "latents_mean", "latents_std"].map((name) => [name, trained[name]])) : "";
  const text = factorText(factors);
  const of = `the ${countCases(cases)} of this report`;
  const active = latents.active_channels ?? channels.filter((channel) => channel.active).length;
  const about = channels.length
    ? `${active} of ${channels.length} channels are active. Noise share: the part of a channel’s variance that is the variance of the posterior. Idle channels carry no information about the scan.${codebook ? codebookText(codebook) : ""}`
    : null;
  return section(
    "latents",
    "Latents",
    about,
    channels.length ? scrollFrame("Latent channels", table) : null,
    own ? element("div", { class: "card factors" }, element("h3", {}, "Use these: the factors in the weights"), element("p", { class: "about" }, `From ${trained.measured_on}. The model card, encode, decode and LatentDataset name and use the same ones.`), copyable(own, "Factors in the weights")) : null,
    text ? element(own ? "details" : "div", { class: "card factors" }, element(own ? "summary" : "h3", {}, own ? `Factors of ${of}, for comparison only` : `Use these: the weights hold no factors, these are of ${of}`), copyable(text, "Factors of this report")) : null,
  );
}

/** Returns a table of names and values; long values are collapsed. */
function listing(values) {
  const rows = Object.entries(values).map(([key, value]) => {
    const text = asText(value);
    const long = text.split("\n").length > 8 || text.length > 400;
    const cell = long
      ? element("details", {}, element("summary", {}, `${text.split("\n").length} lines`), element("pre", {}, text))
      : text;
    return element("tr", {}, element("th", { scope: "row" }, words(key)), element("td", {}, cell));
  });
  return element("table", { class: "listing" }, element("tbody", {}, rows));
}

function protocolSection(protocol) {
  const about = "Two reports can be compared if their protocols agree.";
  return section("protocol", "Protocol", about, scrollFrame("Protocol", listing(protocol)));
}

function runSection(page) {
  const { command, latent_statistics, facts: shown, warnings, ...rest } = page.run;
  const facts = { ...rest, ...shown };
  return section(
    "run",
    "Run",
    null,
    element(
      "div",
      { class: "pair" },
      scrollFrame("Run", listing(facts)),
      scrollFrame("Versions", listing(page.versions)),
    ),
    command ? element("div", { class: "card" }, element("h3", {}, "Command"), copyable(String(command), "Command")) : null,
    page.config.startsWith("null")
      ? null
      : element("details", { class: "card config" }, element("summary", {}, "Configuration"), copyable(page.config, "Configuration")),
  );
}
