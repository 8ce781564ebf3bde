// What a reader can do with the page: choose what curves show, zoom, sort tables. Text is always set as text, never as HTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const chart = JSON.parse(document.getElementById("chart").textContent);
  const remembered = restored();
  const chosen = Object.assign(
    {
      counter: data.chosen.counter, scale: data.chosen.scale, estimator: data.chosen.estimator, show: data.means.length ? "means" : "runs",
      splits: data.splits.map(([name]) => name).filter((name) => name !== "valid"), hidden: [], published: true,
    },
    remembered,
  );
  const COLOURS = 10;
  const MOST_DOTS = 4000; // of a panel, beyond which a reader cannot point at one
  const zooms = data.panels.map(() => null);
  const rows = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });

  // Choices are remembered by name, as a page that is written again may have other curves, estimators and axes.
  function restored() {
    let kept;
    try {
      kept = JSON.parse(sessionStorage.getItem(location.pathname)) || {};
    } catch {
      return {};
    }
    const estimator = data.estimators.findIndex(([name]) => name === kept.estimator);
    if (estimator < 0) delete kept.estimator;
    else kept.estimator = estimator;
    if (!data.counters.some(([name]) => name === kept.counter)) delete kept.counter;
    kept.hidden = (kept.hidden || []).map((name) => data.curves.indexOf(name)).filter((curve) => curve >= 0);
    return kept;
  }

  function remember() {
    try {
      const kept = { ...chosen, hidden: chosen.hidden.map((curve) => data.curves[curve]), estimator: data.estimators[chosen.estimator][0] };
      sessionStorage.setItem(location.pathname, JSON.stringify(kept));
    } catch {
      // a browser that keeps nothing
    }
  }

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  // -- what a panel shows

  const colour = (curve) => (curve === null || curve === undefined ? "var(--published)" : `var(--c${curve % COLOURS})`);
  const shows = (line) => chosen.splits.includes(line.split) && !chosen.hidden.includes(line.curve);

  function linesOf(panel) {
    const here = (one) => one.panel === panel;
    if (chosen.show === "means" && data.means.some(here)) {
      return data.means
        .filter((one) => here(one) && one.estimator === chosen.estimator && shows(one))
        .map((one) => ({ ...one, name: data.curves[one.curve], run: (k) => seeds(one.seeds[k]) + (one.foreign ? "†" : ""), most: Math.max(...one.seeds) }));
    }
    return data.runs.filter(here).flatMap((run) =>
      run.lines
        .filter((one) => one.estimator === chosen.estimator && shows({ ...one, curve: run.curve }))
        .map((one) => ({ ...one, curve: run.curve, status: run.status, name: data.curves[run.curve], run: () => run.name })),
    );
  }

  const seeds = (n) => (n === 1 ? "one seed" : `mean over ${n} seeds`);
  const labelOf = (list, name) => (list.find(([key]) => key === name) || [name, name])[1];

  function publishedOf(panel) {
    if (!chosen.published || chosen.counter !== "samples") return [];
    return data.published.filter((one) => one.panel === panel && chosen.splits.includes(one.split) && !chosen.hidden.includes(one.curve));
  }

  function values(panel) {
    const found = [];
    const lines = linesOf(panel);
    const many = lines.reduce((n, line) => n + line.y.length, 0) > MOST_DOTS;
    const unit = labelOf(data.counters, chosen.counter);
    lines.forEach((line, number) => {
      const x = line.x[chosen.counter];
      if (!x) return;
      const last = line.y.length - 1;
      line.y.forEach((y, k) => {
        if (y === null || x[k] === null || (chosen.scale === "log" && x[k] <= 0)) return;
        const doubtful = (line.doubtful || []).includes(k);
        const diverged = line.status === "diverged" && k === last;
        const thin = line.most !== undefined && line.seeds[k] < line.most;
        const common = { x: x[k], y, colour: colour(line.curve), split: line.split, shape: "dot", shown: 0, width: thin ? 0.8 : line.low ? 1.8 : 1.2 };
        if (line.low) Object.assign(common, { low: line.low[k], high: line.high[k] });
        if (doubtful) Object.assign(common, { shape: "triangle", shown: 1 });
        if (diverged) Object.assign(common, { shape: "cross", shown: 1 });
        if (line.y.length === 1) common.shown = 1;
        const error = line.error ? ` ± ${line.error[k]}` : ` (${line.low[k]} to ${line.high[k]})`;
        const told = many
          ? {}
          : { name: line.name, run: line.run(k), set: labelOf(data.splits, line.split), at: `${rows.format(x[k])} ${unit}`, value: y + error };
        found.push({ ...common, ...told, line: `${number}${thin ? "t" : ""}`, keep: !many || common.shown });
        if (line.most !== undefined && k < last && line.seeds[k] === line.most && line.seeds[k + 1] < line.most) {
          found.push({ ...common, line: `${number}t`, width: 0.8, low: null, high: null, shown: 0 });
        }
      });
    });
    publishedOf(panel).forEach((line, number) =>
      line.x.forEach((x, k) =>
        found.push({ x, y: line.y[k], colour: colour(line.curve), split: `published ${line.split}`, line: `p${number}`, width: 1.2, shape: "dot", shown: 0, name: line.name,
          run: "published", set: labelOf(data.splits, line.split), at: `${rows.format(x)} ${unit}`, value: `${line.y[k]}` }),
      ),
    );
    return found;
  }

  function domains(panel, points) {
    const limits = Object.entries((data.panels[panel].limits || {})[chosen.estimator] || {}).filter(([split]) => chosen.splits.includes(split));
    const own = points.filter((point) => point.run !== "published");
    const xs = (own.length ? own : points).map((point) => point.x);
    const least = xs.reduce((a, b) => Math.min(a, b), Infinity);
    const most = xs.reduce((a, b) => Math.max(a, b), -Infinity);
    const x = xs.length ? padded([least, most]) : chosen.scale === "log" ? [1, 10] : [0, 1];
    const y = limits.length ? apart(Math.min(...limits.map(([, one]) => one[0])), Math.max(...limits.map(([, one]) => one[1]))) : [0, 1];
    return { x, y };
  }

  const apart = (low, high) => [low - 0.03 * (high - low), high + 0.03 * (high - low)]; // so that no dot at an edge is cut

  function padded([low, high]) {
    if (chosen.scale === "log") return low === high ? [low / 2, high * 2] : [low, high * 1.05];
    return low === high ? [low - 1, high + 1] : [Math.min(0, low), high + 0.02 * (high - low)];
  }

  // -- drawing

  const places = [];

  function specification(panel) {
    const spec = structuredClone(chart);
    const points = values(panel);
    const { x, y } = zooms[panel] || domains(panel, points);
    spec.datasets = { lines: points };
    spec.description = said(panel);
    for (const layer of spec.layer) {
      const counts = chosen.counter.endsWith("seconds") ? ",~f" : "~s";
      Object.assign(layer.encoding.x, { title: labelOf(data.counters, chosen.counter), axis: { format: counts }, scale: { type: chosen.scale, domain: x, nice: false } });
      Object.assign(layer.encoding.y, { title: data.estimators[chosen.estimator][1], scale: { domain: y, zero: false, nice: false } });
    }
    return spec;
  }

  function said(panel) {
    const ends = linesOf(panel).slice(0, 20).map((line) => `${line.name}, ${labelOf(data.splits, line.split)}: ${line.y[line.y.length - 1]}`);
    return `${title(panel)}. ${data.estimators[chosen.estimator][1]}, against ${labelOf(data.counters, chosen.counter)}. At the end: ${ends.join("; ") || "nothing"}.`;
  }

  const title = (panel) => data.panels[panel].title || "all runs";

  let drawing = 0;
  let last = Promise.resolve();

  function draw(panel) {
    last = last.catch(() => {}).then(() => embed(panel)); // one after the other, as two would share a place
    return last;
  }

  async function embed(panel) {
    const place = places[panel];
    const options = { actions: false, renderer: "svg", ast: true, defaultStyle: false, tooltip: { disableDefaultStyle: true } };
    if (place.result) place.result.finalize();
    place.result = await vegaEmbed(place.chart, specification(panel), options);
    place.chart.querySelector("svg").setAttribute("aria-hidden", "true"); // the place tells what it shows, and so do the numbers below
    place.chart.dataset.turn = Number(place.chart.dataset.turn || 0) + 1;
    let rectangle = null;
    place.result.view.addSignalListener("zoom", (_, value) => (rectangle = value));
    place.chart.onpointerup = () =>
      setTimeout(() => {
        if (rectangle && rectangle.x && rectangle.y) zoom(panel, { x: sorted(rectangle.x), y: sorted(rectangle.y) });
      });
    place.chart.ondblclick = () => zoom(panel, null);
    if (place.numbers.open) fill(panel);
  }

  const sorted = (pair) => [Math.min(...pair), Math.max(...pair)];

  function zoom(panel, domain) {
    zooms[panel] = domain;
    draw(panel);
  }

  function zoomBy(panel, factor) {
    const from = zooms[panel] || domains(panel, values(panel));
    const scaled = ([low, high], log) => {
      const [a, b] = log ? [Math.log(low), Math.log(high)] : [low, high];
      const [middle, half] = [(a + b) / 2, ((b - a) / 2) * factor];
      return log ? [Math.exp(middle - half), Math.exp(middle + half)] : [middle - half, middle + half];
    };
    zoom(panel, { x: scaled(from.x, chosen.scale === "log"), y: scaled(from.y, false) });
  }

  async function drawAll() {
    const turn = ++drawing;
    document.body.dataset.drawn = "";
    const signs = [
      [data.means.some((one) => chosen.show === "means" && Math.min(...one.seeds) < Math.max(...one.seeds)), "thin: fewer seeds"],
      [data.runs.some((run) => run.status === "diverged"), "cross: diverged"],
      [data.runs.some((run) => run.lines.some((line) => line.doubtful)), "triangle: not to be trusted"],
      [data.runs.some((run) => run.name.endsWith("†")), "†: of foreign runs"],
    ].filter(([there]) => there).map(([, words]) => words);
    document.getElementById("shown").textContent =
      `Shown: ${data.estimators[chosen.estimator][1]}, on the ${chosen.splits.map((one) => labelOf(data.splits, one)).join(" and the ") || "points of no set"}, ` +
      `${chosen.show === "means" ? "means over seeds with their range" : "every run"}, against ${labelOf(data.counters, chosen.counter)}${signs.length ? ` (${signs.join("; ")})` : ""}.`;
    for (let panel = 0; panel < data.panels.length; panel++) {
      if (turn !== drawing) return;
      await draw(panel);
      await new Promise((go) => setTimeout(go)); // a reader's clicks come first
    }
    if (turn === drawing) document.body.dataset.drawn = "all";
  }

  function panels() {
    data.panels.forEach((_, panel) => {
      const place = element("div", { class: "chart" });
      const button = (label, name, action) => {
        const made = element("button", { type: "button", "aria-label": `${name}: ${title(panel)}`, title: name }, label);
        made.onclick = action;
        return made;
      };
      const buttons = element(
        "div", { class: "zoom" }, button("+", "Zoom in", () => zoomBy(panel, 0.5)), button("−", "Zoom out", () => zoomBy(panel, 2)),
        button("Reset", "Zoom back", () => zoom(panel, null)),
      );
      const numbers = element("details", {}, element("summary", {}, "Numbers of these curves"));
      numbers.ontoggle = () => numbers.open && fill(panel);
      const head = element("div", { class: "head" }, element("h3", {}, title(panel)), buttons);
      document.getElementById("panels").append(element("div", { class: "panel" }, head, place, numbers));
      places.push({ chart: place, numbers, result: null });
    });
  }

  function fill(panel) {
    const numbers = places[panel].numbers;
    const points = values(panel).filter((one) => one.run !== "published");
    if (!points.some((one) => one.name)) {
      const why = points.length ? "These are too many points to be listed: choose means over seeds, or hide curves." : "Nothing is shown.";
      numbers.replaceChildren(numbers.firstElementChild, element("p", {}, why));
      return;
    }
    const body = element("tbody");
    for (const point of points.filter((one) => one.name)) {
      const cells = Object.keys(data.told).map((key, k) => element(k ? "td" : "th", k ? {} : { scope: "row" }, String(point[key])));
      body.append(element("tr", {}, ...cells));
    }
    const heads = Object.values(data.told).map((name) => element("th", { scope: "col" }, name));
    const table = element("table", {}, element("caption", {}, title(panel)), element("thead", {}, element("tr", {}, ...heads)), body);
    const region = element("div", { class: "scrolls", role: "region", "aria-label": `Numbers of ${title(panel)}`, tabindex: "0" }, table);
    numbers.replaceChildren(numbers.firstElementChild, region);
  }

  // -- choices

  function changed(unzoom) {
    if (unzoom) zooms.fill(null);
    remember();
    drawAll();
  }

  function select(label, name, options) {
    const made = element("select", { name });
    for (const [value, words] of options) made.append(element("option", { value }, words));
    made.value = String(chosen[name]);
    made.onchange = () => {
      chosen[name] = name === "estimator" ? Number(made.value) : made.value;
      changed(name !== "show");
    };
    return element("label", {}, element("span", {}, label), made);
  }

  function checkbox(checked, words, change) {
    const box = element("input", { type: "checkbox" });
    box.checked = checked;
    box.onchange = () => change(box.checked);
    return element("label", {}, box, ...words);
  }

  const toggled = (list, value, on) => (on ? [...new Set([...list, value])] : list.filter((one) => one !== value));

  function choices() {
    const form = document.getElementById("choices");
    form.append(select("Against", "counter", data.counters), select("Scale", "scale", [["log", "logarithmic"], ["linear", "linear"]]));
    if (data.means.length) form.append(select("Lines", "show", [["means", "means, range over seeds"], ["runs", "every run"]]));
    if (data.estimators.length > 1) form.append(select("Estimator", "estimator", data.estimators.map(([name], k) => [k, name])));
    const sets = element("fieldset", {}, element("legend", {}, "Points"));
    for (const [split, words] of data.splits) {
      const sample = swatch("var(--ink)", data.dashes[split]);
      sets.append(checkbox(chosen.splits.includes(split), [sample, words], (on) => {
        chosen.splits = toggled(chosen.splits, split, on);
        changed(true);
      }));
    }
    form.append(sets);
    const legend = document.getElementById("legend");
    data.curves.forEach((name, curve) => {
      const label = checkbox(!chosen.hidden.includes(curve), [swatch(colour(curve)), name], (on) => {
        chosen.hidden = toggled(chosen.hidden, curve, !on);
        changed(false);
      });
      legend.append(element("li", {}, label));
    });
    if (data.published.length) {
      const paper = data.published[0].name.replace(/^.*\((.*)\)$/, "$1");
      const words = [swatch("var(--ink)", data.dashes["published test"]), `published (${paper}) in the colour of its method, against samples`];
      legend.append(element("li", {}, checkbox(chosen.published, words, (on) => { chosen.published = on; changed(false); })));
    }
  }

  function swatch(stroke, dashes) {
    const space = "http://www.w3.org/2000/svg";
    const made = document.createElementNS(space, "svg");
    const line = document.createElementNS(space, "line");
    for (const [key, value] of Object.entries({ width: 28, height: 10, "aria-hidden": "true" })) made.setAttribute(key, value);
    for (const [key, value] of Object.entries({ x1: 0, x2: 28, y1: 5, y2: 5, "stroke-width": 3, "stroke-dasharray": (dashes || [1, 0]).map((n) => n * 1.5).join(" ") })) line.setAttribute(key, value);
    line.style.stroke = stroke;
    made.append(line);
    return made;
  }

  // -- tables that can be sorted

  const NUMBER = /^[+\-−]?[\d,]*\.?\d+(e[+-]?\d+)?/i;

  function key(cell) {
    const words = cell.textContent.trim();
    const number = NUMBER.exec(words);
    if (number) return Number(number[0].replaceAll(",", "").replace("−", "-"));
    return { best: 0, never: Infinity, none: 0, "": null }[words.toLowerCase()] ?? (words === "" ? null : words.toLowerCase());
  }

  function compare(one, other) {
    if (one === null || other === null) return (one === null) - (other === null); // cells that are empty come last
    if (typeof one === "number" && typeof other === "number") return one === other ? 0 : one - other;
    return String(one).localeCompare(String(other), "en", { numeric: true });
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const announce = element("p", { role: "status", class: "note" });
    announce.hidden = true;
    table.parentElement.after(announce);
    heads.forEach((head, column) => {
      const button = element("button", { type: "button" }, head.textContent);
      head.replaceChildren(button);
      button.onclick = () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const lines = [...body.rows].map((row) => [key(row.cells[column]), row]);
        const empty = lines.filter(([value]) => value === null);
        const full = lines.filter(([value]) => value !== null).sort(([a], [b]) => compare(a, b) * (down ? -1 : 1));
        body.append(...[...full, ...empty].map(([, row]) => row));
        separated(body, column === 0);
        announce.hidden = false;
        announce.textContent = `Sorted by ${button.textContent}, ${down ? "descending" : "ascending"}.`;
      };
    });
    separated(body, true);
  }

  function separated(body, apart) {
    const rows = [...body.rows];
    const names = rows.map((row) => row.cells[0].textContent);
    const grouped = apart && new Set(names).size < names.length;
    rows.forEach((row, k) => row.classList.toggle("first", grouped && k > 0 && names[k - 1] !== names[k]));
  }

  // -- a page that is written again while runs are made

  function refreshing() {
    const seconds = Number(document.body.dataset.refresh);
    if (!seconds) return;
    const place = document.getElementById("refreshing");
    let on = remembered.refresh !== false;
    place.hidden = false;
    place.append(checkbox(on, [`Runs are under way: read this page again every ${seconds} seconds`], (value) => {
      on = value;
      chosen.refresh = value;
      remember();
    }));
    setInterval(() => on && location.reload(), 1000 * seconds);
  }

  document.querySelectorAll("table.sorts").forEach(sortable);
  refreshing();
  panels();
  choices();
  drawAll();
})();
