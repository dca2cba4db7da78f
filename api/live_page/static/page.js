// What the page shows comes from the API that served it: tables and checks by request, values by its event stream.

const KEY = "lakehouse-key";
const HISTORY_MS = 3_600_000;
const REFRESH_MS = 30_000;
const RATE_OVER_MS = 10_000;
const MINUTES_IN_WINDOW = 5;
const LONGEST_PAUSE_MS = 15_000;
const CHART = { width: 600, height: 200, left: 52, right: 8, top: 10, bottom: 22 };

const element = (id) => document.getElementById(id);
const board = { family: null, measure: null, zone: null, measures: [], minutes: new Map(), windows: [], counted: [], newest: 0 };
let key = sessionStorage.getItem(KEY);
let leaving = new AbortController();

class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function ask(path, signal) {
  const answer = await fetch(path, { headers: { "X-API-Key": key }, signal });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
  throw new Refused(answer.status, problem.detail);
}

const read = async (path, signal) => (await ask(path, signal)).json();

function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function draw(name, attributes, text = "") {
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) drawn.setAttribute(attribute, value);
  drawn.textContent = text;
  return drawn;
}

const written = (value) =>
  value === null || value === undefined ? "–" : value.toLocaleString(undefined, { maximumSignificantDigits: 4 });

function ago(instant) {
  const seconds = Math.max(0, (Date.now() - instant) / 1000);
  if (seconds < 90) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s ago`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
}

// ---- tables and checks

async function showTables(signal) {
  const [{ tables }, quality] = await Promise.all([
    read("v1/tables", signal),
    // a new installation has no results of checks yet
    read("v1/quality?days=7", signal).catch(() => ({ tables: [] })),
  ]);
  const verdicts = new Map(quality.tables.map((table) => [table.table, table.verdict]));
  element("states").replaceChildren(
    ...tables.map((table) => {
      const verdict = verdicts.get(table.identifier) ?? "not checked yet";
      return make(
        "tr",
        {},
        make("th", { scope: "row", textContent: table.identifier, title: table.description }),
        make("td", { textContent: table.row_count === null ? "–" : table.row_count.toLocaleString() }),
        make("td", { textContent: table.committed_at ? ago(Date.parse(table.committed_at)) : "–" }),
        make("td", { textContent: verdict, className: verdict }),
      );
    }),
  );
  return tables;
}

// ---- values

function minutesOf(zone) {
  const minutes = board.minutes.get(zone) ?? new Map();
  board.minutes.set(zone, minutes);
  return minutes;
}

function take(totals) {
  const minutes = minutesOf(totals.zone);
  const before = minutes.get(totals.minute)?.event_count;
  if (before !== undefined && before > totals.event_count) return;
  minutes.set(totals.minute, totals);
  for (const minute of minutes.keys()) if (Date.parse(minute) < Date.now() - HISTORY_MS) minutes.delete(minute);
  // what the page finds when it opens was not sent in this instant
  if (before !== undefined || minutes.size > 1) {
    board.counted.push([Date.now(), totals.event_count - (before ?? 0)]);
  }
  board.newest = Math.max(board.newest, Date.parse(totals.newest_event));
}

// the rolling window of a zone: its newest minutes, merged
function running(zone) {
  const minutes = [...minutesOf(zone).values()].sort((a, b) => Date.parse(b.minute) - Date.parse(a.minute));
  if (minutes.length === 0) return null;
  const end = Date.parse(minutes[0].minute) + 60_000;
  const merged = minutes.filter((each) => Date.parse(each.minute) >= end - MINUTES_IN_WINDOW * 60_000);
  const name = board.measure.column;
  const present = merged.filter((each) => each[`${name}_count`] > 0);
  const count = present.reduce((sum, each) => sum + each[`${name}_count`], 0);
  return {
    end,
    events: merged.reduce((sum, each) => sum + each.event_count, 0),
    mean: count ? present.reduce((sum, each) => sum + each[`${name}_sum`], 0) / count : null,
    min: count ? Math.min(...present.map((each) => each[`${name}_min`])) : null,
    max: count ? Math.max(...present.map((each) => each[`${name}_max`])) : null,
    live: true,
  };
}

function pointsOf(zone) {
  const name = board.measure.column;
  const points = board.windows
    .filter((window) => window.zone === zone)
    .map((window) => ({
      end: Date.parse(window.window_end),
      events: window.event_count,
      mean: window[`${name}_mean`],
      min: window[`${name}_min`],
      max: window[`${name}_max`],
      live: window.source === "live",
    }));
  const now = running(zone);
  return [...points.filter((point) => now === null || point.end < now.end), ...(now ? [now] : [])]
    .filter((point) => point.mean !== null)
    .sort((a, b) => a.end - b.end);
}

function showZones() {
  const names = [...new Set([...board.windows.map((window) => window.zone), ...board.minutes.keys()])];
  const zones = names.filter((zone) => zone !== null).sort();
  if (board.zone === null || !zones.includes(board.zone)) {
    board.zone = zones.find((zone) => pointsOf(zone).length > 0) ?? zones[0] ?? null;
  }
  const shown = new Map([...element("zones").children].map((tile) => [tile.dataset.zone, tile]));
  const tiles = zones.map((zone) => {
    const tile = shown.get(zone) ?? newTile(zone);
    const newest = pointsOf(zone).at(-1);
    tile.querySelector("strong").textContent = newest ? `${written(newest.mean)} ${board.measure.unit}` : "–";
    tile.querySelector("small").textContent = newest ? `${newest.events.toLocaleString()} events` : "silent";
    tile.setAttribute("aria-pressed", String(zone === board.zone));
    return tile;
  });
  if (tiles.length !== shown.size || tiles.some((tile) => !shown.has(tile.dataset.zone))) {
    element("zones").replaceChildren(...tiles);
  }
}

function newTile(zone) {
  const tile = make("button", { type: "button" }, make("span", { textContent: zone }), make("strong"), make("small"));
  tile.dataset.zone = zone;
  tile.addEventListener("click", () => {
    board.zone = zone;
    show();
  });
  return tile;
}

function showChart() {
  const points = board.zone === null ? [] : pointsOf(board.zone);
  element("zone-name").textContent = board.zone ?? "no zone yet";
  const summary = element("chart-summary");
  if (points.length === 0) {
    element("chart").replaceChildren();
    summary.textContent = "Nothing has come in the last hour.";
    return;
  }
  const ends = points.map((point) => point.end);
  const [from, to] = [Math.min(...ends), Math.max(...ends, Math.min(...ends) + 60_000)];
  const [low, high] = [Math.min(...points.map((point) => point.min)), Math.max(...points.map((point) => point.max))];
  const x = (end) => CHART.left + ((end - from) / (to - from)) * (CHART.width - CHART.left - CHART.right);
  const y = (value) =>
    CHART.top + (1 - (value - low) / (high - low || 1)) * (CHART.height - CHART.top - CHART.bottom);
  const line = (chosen, value) => chosen.map((point) => `${x(point.end).toFixed(1)},${y(value(point)).toFixed(1)}`);
  const finished = points.filter((point) => !point.live);
  const unfinished = points.filter((point) => point.live);
  const band = [...line(points, (point) => point.max), ...line([...points].reverse(), (point) => point.min)];
  const base = CHART.height - 6;
  const clock = (end) => new Date(end).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  element("chart").replaceChildren(
    draw("polygon", { class: "band", points: band.join(" ") }),
    draw("polyline", { class: "mean", points: line(finished, (point) => point.mean).join(" ") }),
    draw("polyline", {
      class: "mean live",
      points: line([...finished.slice(-1), ...unfinished], (point) => point.mean).join(" "),
    }),
    draw("text", { x: 4, y: y(high) + 8 }, written(high)),
    draw("text", { x: 4, y: y(low) }, written(low)),
    draw("text", { x: CHART.left, y: base }, clock(from)),
    draw("text", { x: CHART.width - CHART.right, y: base, "text-anchor": "end" }, clock(to)),
  );
  const last = points.at(-1);
  summary.textContent =
    `${board.measure.meaning}, ${board.measure.unit || "no unit"}: mean ${written(last.mean)} in the window that ends ` +
    `at ${clock(last.end)} (${last.live ? "so far" : "final"}), between ${written(low)} and ${written(high)} in the ` +
    "time shown. Dashed is what may still change.";
}

function showStream() {
  const since = Date.now() - RATE_OVER_MS;
  board.counted = board.counted.filter(([at]) => at >= since);
  const events = board.counted.reduce((sum, [, count]) => sum + count, 0);
  element("rate").textContent = board.counted.length ? written(events / (RATE_OVER_MS / 1000)) : "–";
  element("lag").textContent = board.newest ? ago(board.newest) : "–";
}

let drawing = false;

function show() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    if (board.measure === null) return;
    showZones();
    showChart();
    showStream();
  });
}

// ---- the stream of a family

// server-sent events over fetch, because EventSource cannot send a key in a header
async function* eventsOf(path, signal) {
  const reader = (await ask(path, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const [event, data] = ["event: ", "data: "].map((name) =>
        block.split("\n").find((line) => line.startsWith(name))?.slice(name.length),
      );
      if (event === "end") throw new Error(JSON.parse(data).detail);
      if (data) yield JSON.parse(data);
    }
  }
}

async function loadWindows(signal) {
  const from = new Date(Date.now() - HISTORY_MS).toISOString();
  const { rows } = await read(`v1/${board.family}/windows?limit=2000&from=${encodeURIComponent(from)}`, signal);
  board.windows = rows;
  show();
}

async function follow(signal) {
  let pause = 1000;
  while (!signal.aborted) {
    try {
      for await (const totals of eventsOf(`v1/${board.family}/stream?kind=zone`, signal)) {
        say(`live: ${board.family}`);
        pause = 1000;
        take(totals);
        show();
      }
    } catch (error) {
      if (signal.aborted || denied(error)) return;
      say(`reconnecting: ${error.message}`);
    }
    await new Promise((resume) => setTimeout(resume, pause));
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
  }
}

function chooseFamily(table) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  Object.assign(board, { family: table.family, zone: null, minutes: new Map(), windows: [], counted: [], newest: 0 });
  board.measures = table.columns
    .filter((column) => column.aggregation?.function === "mean")
    .map((column) => ({
      column: column.aggregation.column,
      unit: column.unit && column.unit !== "1" ? column.unit : "",
      meaning: column.meaning,
    }));
  board.measure = board.measures[0];
  element("measure").replaceChildren(
    ...board.measures.map((measure) => make("option", { value: measure.column, textContent: measure.column })),
  );
  for (const tab of element("families").children) {
    tab.setAttribute("aria-current", String(tab.textContent === board.family));
  }
  say(`connecting: ${board.family}`);
  show(); // nothing of the family before stays
  const refresh = () => loadWindows(signal).catch((error) => !signal.aborted && say(error.message));
  const timers = [setInterval(refresh, REFRESH_MS), setInterval(show, 1000)];
  signal.addEventListener("abort", () => timers.forEach(clearInterval));
  refresh();
  follow(signal);
}

// ---- the key

const say = (text) => {
  if (element("connection").textContent !== text) element("connection").textContent = text;
};

function denied(error) {
  if (!(error instanceof Refused) || ![401, 403].includes(error.status)) return false;
  if (error.status === 401) forget(error.message);
  else say(error.message);
  return true;
}

function forget(why = "") {
  leaving.abort();
  sessionStorage.removeItem(KEY);
  key = null;
  element("board").hidden = element("forget").hidden = true;
  element("key-form").hidden = false;
  element("key-error").textContent = why;
  say("not connected");
  element("key").focus();
}

async function open() {
  let tables;
  try {
    tables = await showTables();
  } catch (error) {
    if (!denied(error)) {
      element("key-error").textContent = `the API does not answer: ${error.message}`;
    }
    return;
  }
  sessionStorage.setItem(KEY, key);
  element("key-form").hidden = true;
  element("board").hidden = element("forget").hidden = false;
  const windows = tables.filter((table) => table.identifier === `silver.${table.family}_5m`);
  element("families").replaceChildren(
    ...windows.map((table) => {
      const tab = make("button", { type: "button", textContent: table.family });
      tab.addEventListener("click", () => chooseFamily(table));
      return tab;
    }),
  );
  if (windows.length) chooseFamily(windows[0]);
  else say("this key is for no table of windows");
}

element("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = element("key").value.trim();
  element("key").value = element("key-error").textContent = "";
  open();
});
element("forget").addEventListener("click", () => forget());
element("measure").addEventListener("change", (event) => {
  board.measure = board.measures.find((measure) => measure.column === event.target.value);
  show();
});
setInterval(() => key !== null && !element("board").hidden && showTables().catch(denied), REFRESH_MS);
if (key !== null) open();
else element("key").focus();
