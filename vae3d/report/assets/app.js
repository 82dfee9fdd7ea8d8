// The entry point: builds the sections of the page from its data, in order.

function themeButton() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const set = (theme) => { root.style.colorScheme = theme; };
  if (["#dark", "#light"].includes(location.hash)) set(location.hash.slice(1));
  const now = () => root.style.colorScheme || (dark.matches ? "dark" : "light");
  return element("button", { type: "button", class: "theme", onclick: () => set(now() === "dark" ? "light" : "dark") }, "Light / dark");
}

/** Returns the median case, which stands for the others better than the best one, or the first of two. */
function firstPicture({ views, chosen }) {
  const view = views.find(({ label }) => label === "median") || views[0];
  if (!view) return null;
  const image = element("img", { src: view.figure, alt: `Original, reconstruction and difference of ${view.title}` });
  const caption = chosen ? `Case of ${view.label} ${chosen}: ${view.title}` : view.title;
  return element("figure", { class: "first-picture" }, element("figcaption", {}, caption), element("a", { href: "#views" }, image));
}

function pageHeader(page) {
  const { run, protocol, cases } = page;
  const facts = [
    ["Weights", run.weights],
    ["Step", typeof run.step === "number" ? formatNumber(run.step) : run.step],
    ["Cases", formatNumber(cases.every)],
    // The factors have a section of their own.
    ...Object.entries(run.facts || {}).filter(([name]) => name !== "Scaling"),
    ["Mode", protocol.mode],
    ["Latent", protocol.latent],
    ["Precision", protocol.precision],
  ];
  const present = facts.filter(([, value]) => value !== null && value !== undefined);
  return [
    element("p", { class: "eyebrow" }, "Reconstruction report"),
    element("h1", {}, String(run.name)),
    element("dl", { class: "facts" }, present.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, asText(value))))),
    (run.warnings || []).map((text) => element("p", { class: "warning", role: "note" }, asText(text))),
    element("div", { class: "tiles" }, headline(page.parsed)),
    firstPicture(page),
  ];
}

async function start() {
  const page = JSON.parse(document.getElementById("data").textContent);
  page.parsed = page.scores.map(parseScore).sort((a, b) => a.rank - b.rank);
  const every = page.cases.every;
  const sections = [
    summarySection(page.parsed, every),
    viewerSection(page),
    distributionSection(page.parsed, page.cases, page.ranks),
    sharpnessSection(page.sharpness),
    regionSection(page.parsed, every),
    latentSection(page.latents, page.run.latent_statistics, every),
    rateSection(page.rates),
    valueSection(page.values),
    probeSection(page.pictures),
    curveSection(page.curves),
    casesSection(page.parsed, page.cases),
    protocolSection(page.protocol),
    runSection(page),
  ].filter(Boolean);
  document.title = `${page.run.name}: report`;
  document.getElementById("header").append(...pageHeader(page).flat().filter(Boolean));
  document.getElementById("main").replaceChildren(...sections);
  document.getElementById("footer").append(`vae3d ${asText(page.versions.vae3d)}`);
  const links = sections.map((part) => element("a", { href: `#${part.id}` }, part.querySelector("h2").textContent));
  document.getElementById("links").append(...links);
  document.querySelector("nav").append(themeButton());
  await page.ready;
  document.body.dataset.ready = "true";
}

start();
