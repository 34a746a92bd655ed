// The page: one view after the other comes over /events, and is shown as it is.
const $ = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const history = 12000; // ms, as the server keeps them

let boot = "";  // of the server whose log we show
let shown = 0;  // lines of it
let view;       // the newest
let updates = 0; // views shown
const spans = new Map(); // what the lanes show, by id
let events;     // the stream of views
let heard;      // when something last came

function connect() {
  events?.close();
  if (document.hidden) return; // nobody looks, and a browser has few connections to a server
  text($("link"), "connecting");
  const stream = events = new EventSource("events");
  heard = performance.now();
  stream.onmessage = (e) => {
    heard = performance.now();
    text($("link"), "live");
    show(JSON.parse(e.data));
  };
  stream.onerror = () => {
    text($("link"), "no connection: trying again");
    if (stream === events && stream.readyState === EventSource.CLOSED) setTimeout(connect, 1000); // else the browser tries
  };
}

// A server that hangs, and a network that is gone, close no connection: but views come 30 times a second.
function listen() {
  const silent = performance.now() - heard;
  if (document.hidden || silent < 2000) return;
  if (silent > 10000) connect();
  else if (events.readyState === EventSource.OPEN) text($("link"), "nothing comes");
}

async function press(path, button) {
  try {
    const r = await fetch(path, { method: "POST", signal: AbortSignal.timeout(5000) });
    if (!r.ok) note(`${button.textContent}: ${(await r.text()).trim()}`);
  } catch {
    note(`${button.textContent}: the server does not answer`);
  }
}

// show shows a view. All but a whole one have only the spans and lines of the log that
// are new.
function show(v) {
  view = v;
  if (!updates++) performance.mark("live");
  if (v.whole) spans.clear();
  for (const s of v.spans) spans.set(s.id, s);
  for (const [id, s] of spans) if (s.to && s.to < v.now - history) spans.delete(id);
  if (v.boot !== boot) {
    boot = v.boot;
    shown = 0;
    document.documentElement.dataset.boot = boot;
  }
  for (const e of v.log) if (e.n > shown) { note(e.text, e.at); shown = e.n; }
  if (updates === 1) setTimeout(() => { $("log").ariaLive = "polite"; }, 100); // what was before is not read out
  if (due("bars", calm.matches ? 1000 : 0)) list($("keys"), v.keys, newKey, showTime);
  if (due("words", calm.matches ? 1000 : 200)) words(v);
  if (due("lanes", calm.matches ? 1000 : 100)) draw(v);
}

// words are what people read. They change less often than the bars move.
function words(v) {
  text($("guard"), v.guard ? "Take the guard away" : "Put the guard back");
  $("guard").disabled = false;
  text($("on"), v.guard ? "on" : "off");
  look($("on"), v.guard ? "on" : "off");
  count("with", v.with);
  count("without", v.without);
  office(v.office);
  list($("replicas"), v.replicas, newReplica, showReplica);
  list($("keys"), v.keys, newKey, showKey);
}

// due tells whether something is to be done again, at most every so many ms.
const done = {};
function due(what, ms) {
  const now = performance.now();
  if (now - (done[what] ?? -ms) < ms - 5) return false;
  done[what] = now;
  return true;
}

// look gives a node its class; like text it touches nothing in vain.
function look(node, name) { if (node.className !== name) node.className = name; }

// text changes only what differs: screen readers and layout are spared the rest.
function text(node, s) { if (node.textContent !== s) node.textContent = s; }

function make(tag, className, parent) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  parent?.append(node);
  return node;
}

// list shows items in nodes that stay, so that a focused button keeps its focus.
function list(node, items, create, update) {
  while (node.children.length < items.length) node.append(create(node.children.length));
  while (node.children.length > items.length) node.lastChild.remove();
  items.forEach((item, i) => update(node.children[i], item));
}

function count(side, t) {
  for (const [name, n] of Object.entries(t)) {
    const cell = $(`${side}-${name}`);
    if (cell) text(cell, t.stocked ? String(n) : "–"); // nothing is known of a side that was never on sale
  }
  // Without the guard no 0 is good: it oversells as soon as all tickets are thought to be sold.
  look($(`${side}-oversold`), t.oversold > 0 ? "bad" : side === "with" && t.sold > 0 ? "good" : "");
}

function office(o) {
  text($("shipped"), `${o.shipped} of ${o.paid} paid`);
  const books = o.off ? `the guarded books are off by ${o.off}` : "the guarded books agree";
  text($("ticks"), o.ticks ? `${o.ticks} ticks, ${o.twice} of them twice; the last by ${o.by}: ${books}` : "none yet");
}

const actions = [["stall", "Stall"], ["kill", "Kill"], ["cut", "Cut off from Redis"], ["go-on", "Let go on"]];

function newReplica(i) {
  const li = make("li");
  make("span", "name", li);
  li.append(": ");
  make("span", "state", li);
  make("span", "doing", li);
  for (const [action, label] of actions) {
    const b = make("button", action, li);
    b.type = "button";
    b.textContent = label;
    b.setAttribute("aria-label", `${label}: replica ${i + 1}`);
    b.onclick = () => press(`replicas/${i + 1}/${action}`, b);
  }
  return li;
}

function showReplica(li, r) {
  text(li.querySelector(".name"), r.name);
  const state = li.querySelector(".state");
  text(state, r.state + (r.cut ? ", cut off from Redis" : ""));
  state.classList.toggle("trouble", r.cut || r.state !== "selling");
  const doing = [];
  if (r.sells.length) doing.push(`sells ${r.sells.join(", ")}`);
  if (r.waits.length) doing.push(`waits for ${r.waits.join(", ")}`);
  text(li.querySelector(".doing"), doing.join(" · "));
}

function newKey() {
  const li = make("li");
  make("strong", "sku", li);
  make("span", "left", li);
  make("div", "who", li);
  const time = make("div", "time", li);
  time.role = "meter";
  time.ariaValueMin = "0";
  time.ariaValueMax = "100";
  time.ariaLabel = "Time left of the lease, in percent of its TTL";
  make("div", "", time);
  make("div", "doing", li);
  return li;
}

function showKey(li, k) {
  text(li.querySelector(".sku"), k.sku);
  text(li.querySelector(".left"), ` · ${k.tickets} left, says the stock`);
  const left = String(Math.round(10 * share(k)) * 10), time = li.querySelector(".time");
  if (time.ariaValueNow !== left) time.ariaValueNow = left;
  text(li.querySelector(".doing"), k.waiting.length ? `waiting: ${k.waiting.join(", ")}` : "nobody waits");
}

// who has a key is told with its bar, lest they contradict each other.
function who(k) { return k.holder ? `${k.holder}, token ${k.token || "?"}` : k.guarded ? "free" : "no guard: whoever comes"; }

// share is what is left of the TTL of a key's lease, from 0 to 1.
function share(k) { return k.holder ? Math.min(1, k.remains / view.ttl) : 0; }

function showTime(li, k) {
  text(li.querySelector(".who"), who(k));
  li.querySelector(".time div").style.transform = `scaleX(${share(k).toFixed(2)})`;
}

function note(s, at = Date.now()) {
  const log = $("log");
  const atEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 8;
  make("p", "", log).textContent = `${new Date(at).toLocaleTimeString("en-GB")}  ${s}`;
  while (log.children.length > 100) log.firstChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

const hues = [210, 150, 275, 40, 185, 320, 95, 240]; // of the replicas
const gutter = 14; // with their numbers

function draw(v) {
  const canvas = $("lanes"), ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const c = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name);
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, width, height);
  if (!v.keys.length) return;
  const x = (at) => gutter + (width - gutter) * Math.max(0, 1 - (v.now - at) / history);
  const lane = height / v.keys.length, head = 18, row = (lane - head - 6) / v.replicas.length;

  const top = (sku) => v.lanes[sku] * lane + head;

  c.fillStyle = c.strokeStyle = colour("--bad");
  for (const o of v.overlaps) {
    if (!(o.sku in v.lanes)) continue;
    const from = x(o.from), wide = Math.max(1, x(o.to) - from);
    c.globalAlpha = 0.3;
    c.fillRect(from, top(o.sku), wide, lane - head - 4);
    c.globalAlpha = 1;
    c.strokeRect(from, top(o.sku), wide, lane - head - 4);
  }
  const shades = hues.map((hue) => `hsl(${hue} 55% ${colour("--shade")})`);
  for (const s of spans.values()) {
    if (!(s.sku in v.lanes)) continue;
    const from = x(s.from), wide = Math.max(1.5, x(s.to || v.now) - from);
    c.fillStyle = c.strokeStyle = shades[s.who % shades.length];
    if (s.back) c.strokeRect(from, top(s.sku) + s.who * row, Math.max(3, wide), Math.max(2, row - 2));
    else c.fillRect(from, top(s.sku) + s.who * row, wide, Math.max(2, row - 2));
  }
  c.fillStyle = colour("--text");
  c.font = "13px system-ui, sans-serif";
  v.keys.forEach((k, i) => c.fillText(k.sku, 2, i * lane + 13));
  c.font = `${Math.min(11, row - 1).toFixed(1)}px system-ui, sans-serif`;
  v.keys.forEach((_, i) => v.replicas.forEach((_, who) => c.fillText(who + 1, 2, i * lane + head + (who + 1) * row - row / 4)));
  const n = v.overlaps.length;
  const label = `Timeline of leases: ${n ? `two at once ${n > 99 ? "more than 99" : n} times` : "never two at once"} in the last 12 seconds`;
  if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
}

$("guard").onclick = (e) => press(`guard/${view?.guard === false ? "on" : "off"}`, e.currentTarget);
globalThis.updates = () => updates; // for tests
addEventListener("resize", () => view && draw(view));
document.addEventListener("visibilitychange", connect);
setInterval(listen, 1000);
connect();
