// The pages: what the API says, drawn. Every text of the API becomes a text node, never markup.
'use strict';

const API = '/api/firesteel/v1';
const LOOK_AGAIN_MS = 1000;
const ANSWER_WITHIN_MS = 30000;
const PAGE = 100;
const main = document.getElementById('main');
const live = document.getElementById('live');

// ---- elements -------------------------------------------------------------------------------------------

function el(name, attributes, ...children) {
  const node = document.createElement(name);
  fill(node, attributes, children);
  return node;
}

function svg(name, attributes, ...children) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  fill(node, attributes, children);
  return node;
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined).map(
    (child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
}

function table(head, rows, none) {
  if (!rows.length) return el('p', { class: 'quiet' }, none);
  const cell = (name) => (content, at) => {
    const right = head[at].startsWith('#');
    const text = name === 'th' ? content.replace('#', '') : content;
    return el(name, { class: right ? 'n' : null, scope: name === 'th' ? 'col' : null }, text);
  };
  return el('div', { class: 'scroll' }, el('table', {},
    el('thead', {}, el('tr', {}, head.map(cell('th')))),
    el('tbody', {}, rows.map((row) => el('tr', {}, row.map(cell('td')))))));
}

const figure = (value, name) => el('div', { class: 'figure' }, el('b', {}, value), el('span', {}, name));
const state = (name) => el('span', { class: `state ${name}` }, name);

function bar(done, all) {
  const percent = all ? Math.floor((100 * done) / all) : 0;
  const fillBar = el('i', { class: done >= all ? 'done' : null });
  fillBar.style.width = `${percent}%`;
  return el('div', { class: 'bar', role: 'progressbar', 'aria-valuenow': percent, title: `${done} of ${all}` },
    fillBar);
}

// ---- words ----------------------------------------------------------------------------------------------

const count = (n) => Number(n).toLocaleString('en');

function bytes(n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  let value = n;
  while (value >= 1000 && at < units.length - 1) { value /= 1000; at += 1; }
  return `${at ? value.toFixed(1) : value} ${units[at]}`;
}

function span(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 59950) return `${(ms / 1000).toFixed(1)} s`;
  // Rounded before it is cut in two, so that there is never a sixtieth second.
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(ms / 60000);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function when(ms) {
  const ago = Date.now() - ms;
  const text = ago < 1000 ? 'now' : ago < 86400000 ? `${span(ago)} ago` : new Date(ms).toLocaleString();
  return el('time', { title: new Date(ms).toISOString(), datetime: new Date(ms).toISOString() }, text);
}

const appName = (id) => `app-${id}`;
const workerName = (id) => (id === null || id === undefined ? '–' : `worker-${id}`);
const lasted = (app) => span((app.ended_ms || Date.now()) - app.submitted_ms);

function quantile(sorted, share) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] : null;
}

// ---- the API --------------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, error) { super(error.message); this.status = status; this.error = error; }
}

async function ask(path, options) {
  const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
  const same = { credentials: 'same-origin', cache: 'no-store', signal };
  const answer = await fetch(API + path, { ...same, ...options });
  if (!answer.ok) {
    let error = { code: String(answer.status), message: answer.statusText, help: '' };
    try { error = (await answer.json()).error; } catch (ignored) { /* not one of ours */ }
    throw new Refused(answer.status, error);
  }
  return answer;
}

const json = async (path) => (await ask(path)).json();
const command = (path) => ask(path, { method: 'POST', headers: { 'X-Firesteel-Page': '1' } });

async function metrics() {
  const found = {};
  for (const line of (await (await ask('/metrics')).text()).split('\n')) {
    const at = line.lastIndexOf(' ');
    if (at > 0 && line[0] !== '#') found[line.slice(0, at)] = Number(line.slice(at + 1));
  }
  return found;
}

// ---- pages ----------------------------------------------------------------------------------------------

const APP_HEAD = ['Application', 'Name', 'State', 'Owner', 'Pool', 'Submitted', '#Time'];
const appRow = (app) => [
  el('a', { href: `#/applications/${appName(app.app)}` }, appName(app.app)),
  app.name, state(app.state), app.owner || 'cluster', app.pool, when(app.submitted_ms), lasted(app)];

async function overview() {
  const [numbers, apps, workers] = await Promise.all([
    metrics(), json('/applications?limit=10'), json('/workers')]);
  const of = (name) => numbers[`firesteel_applications{state="${name}"}`] || 0;
  const slots = numbers.firesteel_task_slots || 0;
  return [
    el('h1', {}, 'Cluster'),
    el('div', { class: 'figures' },
      figure(count(workers.filter((worker) => worker.alive).length), 'workers'),
      figure(`${slots - (numbers.firesteel_task_slots_free || 0)} / ${slots}`, 'task slots in use'),
      figure(count(of('running')), 'running'), figure(count(of('waiting')), 'waiting'),
      figure(count(of('succeeded')), 'succeeded'), figure(count(of('failed') + of('killed')), 'failed or killed')),
    el('h2', {}, 'Newest applications'),
    table(APP_HEAD, apps.map(appRow), 'Nothing was submitted yet: firesteel submit JOB.so'),
    el('h2', {}, 'Workers'), workerTable(workers)];
}

let offset = 0;
let wanted = '';

async function applications() {
  const apps = await json(`/applications?offset=${offset}&limit=${PAGE}`);
  const shown = apps.filter((app) => [appName(app.app), app.name, app.state, app.owner, app.pool,
    ...Object.entries(app.tags).flat()].join(' ').toLowerCase().includes(wanted));
  const turn = (by) => () => { offset = Math.max(0, offset + by); draw(); };
  const search = el('input', {
    id: 'search', type: 'search', placeholder: 'Filter this page', 'aria-label': 'Filter', value: wanted,
    oninput: (event) => { wanted = event.target.value.toLowerCase(); draw(); } });
  return [
    el('h1', {}, 'Applications'),
    el('div', { class: 'tools' }, search,
      el('button', { onclick: turn(-PAGE), disabled: offset ? null : '' }, 'Newer'),
      el('button', { onclick: turn(PAGE), disabled: apps.length === PAGE ? null : '' }, 'Older')),
    table(APP_HEAD, shown.map(appRow), 'None.')];
}

function workerTable(workers) {
  const sandbox = (box) => [box.landlock ? `landlock ${box.landlock}` : '', box.seccomp ? 'seccomp' : '',
    box.cgroup ? `cgroup v${box.cgroup}` : '', box.rlimits ? 'rlimits' : '',
    box.user ? `user ${box.user}` : ''].filter(Boolean).join(', ') || 'none';
  return table(['Worker', 'State', '#Slots in use', '#Drivers', '#Memory', 'Host', 'Data server', 'Sandbox'],
    workers.map((worker) => [workerName(worker.worker),
      state(worker.alive ? (worker.draining ? 'draining' : 'alive') : 'lost'),
      `${worker.slots - worker.slots_free} / ${worker.slots}`, count(worker.drivers), bytes(worker.memory),
      worker.host, worker.address, sandbox(worker.sandbox)]),
    'No worker has registered yet: firesteel worker');
}

const workers = async () => [el('h1', {}, 'Workers'), workerTable(await json('/workers'))];

async function plugins() {
  const list = await json('/plugins');
  return [el('h1', {}, 'Plugins'), table(['Plugin', '#Size', 'Entry points'], list.map((plugin) => [
    el('code', { title: plugin.hash }, plugin.hash.slice(0, 12)), bytes(plugin.bytes),
    plugin.descriptor.entries.map((entry) => el('div', {}, el('b', {}, entry.name), ` ${entry.doc} `,
      el('span', { class: 'quiet' }, entry.args.map(
        (arg) => `${arg.name}: ${arg.type}${arg.optional ? ' (optional)' : ''}`).join(', '))))]),
  'No plugin was uploaded yet.')];
}

// ---- one application ------------------------------------------------------------------------------------

let followed = null;

class Followed {
  constructor(id) {
    this.id = id; this.from = 0; this.at = 0; this.seen = Date.now(); this.attempts = new Map();
    this.stages = new Map(); this.lost = []; this.log = ''; this.logFrom = 0; this.stage = null;
    this.reading = null; this.complaint = null;
  }

  // One reading at a time: two that overlap would count the same lines twice, and then leave out as many.
  read() {
    this.reading = this.reading || this.readOnce().finally(() => { this.reading = null; });
    return this.reading;
  }

  async readOnce() {
    const path = `/applications/${this.id}`;
    [this.app, this.progress] = await Promise.all([json(path), json(`${path}/progress`)]);
    const text = await (await ask(`${path}/events?from=${this.from}`)).text();
    for (const line of text.split('\n')) if (line) { this.from += 1; this.hear(JSON.parse(line)); }
    try {
      const piece = await json(`${path}/logs?from=${this.logFrom}`);
      this.log = (this.log + piece.text).slice(-200000); this.logFrom = piece.next; this.refusal = null;
    } catch (error) { this.refusal = error; }
  }

  hear(event) {
    this.at = Math.max(this.at, event.at); this.seen = Date.now();
    const key = event.task && `${event.task.stage}/${event.task.partition}.${event.task.attempt}`;
    const known = key && this.attempts.get(key);
    const ended = (how, more) => { if (known) Object.assign(known, { how, end: event.at }, more); };
    switch (event.event) {
      case 'app_started': this.attempts.clear(); this.stages.clear(); break;
      case 'stage_added': this.stages.set(event.stage, {
        stage: event.stage, name: event.name, tasks: event.tasks, inputs: event.inputs }); break;
      case 'task_started': this.attempts.set(key, {
        key, ...event.task, worker: event.worker, cause: event.cause, start: event.at, how: 'running' }); break;
      case 'task_finished': ended('succeeded', { metrics: event.metrics }); break;
      case 'task_failed': ended('failed', { error: event.error }); break;
      case 'task_lost': ended('lost', { error: { message: event.reason } }); break;
      default: break;
    }
  }

  now() { return this.app.ended_ms ? this.at : this.at + 1000 * (Date.now() - this.seen); }

  row(id) {
    const mine = [...this.attempts.values()].filter((attempt) => attempt.stage === id);
    const times = mine.filter((attempt) => attempt.how === 'succeeded').map(
      (attempt) => (attempt.end - attempt.start) / 1000).sort((a, b) => a - b);
    const told = this.progress.stages.find((stage) => stage.stage === id);
    const done = told ? told.finished : new Set(mine.filter((a) => a.how === 'succeeded').map((a) => a.partition)).size;
    const sum = (of) => mine.reduce((all, a) => all + (a.metrics ? of(a.metrics) : 0), 0);
    return { ...this.stages.get(id), done, running: mine.filter((a) => a.how === 'running').length,
      failed: mine.filter((a) => a.how === 'failed' || a.how === 'lost').length,
      records: sum((m) => m.input_records + m.read_records),
      bytes: sum((m) => m.input_bytes + m.local_read_bytes + m.remote_read_bytes),
      written: sum((m) => m.written_bytes),
      median: quantile(times, 0.5), slowest: quantile(times, 1) };
  }
}

function graph(rows) {
  const depth = new Map();
  const byId = new Map(rows.map((row) => [row.stage, row]));
  const deep = (id) => {
    if (!depth.has(id)) {
      depth.set(id, 0);
      const inputs = (byId.get(id) || { inputs: [] }).inputs;
      depth.set(id, inputs.length ? 1 + Math.max(...inputs.map(deep)) : 0);
    }
    return depth.get(id);
  };
  const columns = [];
  for (const row of rows) (columns[deep(row.stage)] = columns[deep(row.stage)] || []).push(row.stage);
  const place = new Map();
  columns.forEach((ids, x) => ids.forEach((id, y) => place.set(id, [20 + 210 * x, 14 + 62 * y])));
  const height = 20 + 62 * Math.max(...columns.map((ids) => ids.length));
  const edges = rows.flatMap((row) => row.inputs.filter((id) => place.has(id)).map((id) => {
    const [x, y] = place.get(id);
    const [toX, toY] = place.get(row.stage);
    return svg('path', { class: 'edge',
      d: `M${x + 170} ${y + 23} C${x + 190} ${y + 23} ${toX - 20} ${toY + 23} ${toX} ${toY + 23}` });
  }));
  const nodes = rows.map((row) => {
    const [x, y] = place.get(row.stage);
    const kind = row.done >= row.tasks ? 'done' : row.running ? 'busy' : '';
    return svg('g', {}, svg('rect', { class: `node ${kind}`, x, y, width: 170, height: 46, rx: 5 }),
      svg('text', { x: x + 10, y: y + 19 }, row.name.length > 22 ? `${row.name.slice(0, 21)}…` : row.name),
      svg('text', { class: 'sub', x: x + 10, y: y + 36 }, `stage-${row.stage} · ${row.done} of ${row.tasks} tasks`));
  });
  const width = 20 + 210 * columns.length;
  return el('div', { class: 'scroll' }, svg('svg', { width, height, role: 'img', 'aria-label': 'Stages' },
    edges, nodes));
}

function attemptTable(view) {
  const end = view.now();
  const mine = [...view.attempts.values()].filter((attempt) => attempt.stage === view.stage);
  const time = (attempt) => ((attempt.end || end) - attempt.start) / 1000;
  const order = (attempt) => (attempt.how === 'running' ? 0 : 1);
  mine.sort((a, b) => order(a) - order(b) || time(b) - time(a));
  return [el('h2', {}, `Attempts of stage-${view.stage}, running ones first, then the slowest`),
    table(['Attempt', 'State', '#Time', 'Worker', 'Why', '#Records', '#Read', 'Error'],
      mine.slice(0, 200).map((a) => [a.key, state(a.how), span(time(a)),
        el('a', { href: '#log', onclick: (event) => { event.preventDefault(); toLog(a.worker); } },
          workerName(a.worker)),
        a.cause, a.metrics ? count(a.metrics.input_records + a.metrics.read_records) : '',
        a.metrics ? bytes(a.metrics.input_bytes + a.metrics.local_read_bytes + a.metrics.remote_read_bytes) : '',
        a.error ? a.error.message : '']), 'None has started.')];
}

let logFilter = '';

function toLog(worker) {
  // With the bracket behind it, so that worker-1 is not worker-10 as well.
  logFilter = `executor on ${workerName(worker)}]`;
  draw().then(() => document.getElementById('log').scrollIntoView());
}

async function application(id) {
  if (!followed || followed.id !== id) { followed = new Followed(id); logFilter = ''; }
  const view = followed;
  await view.read();
  const app = view.app;
  const rows = [...view.stages.keys()].map((stage) => view.row(stage));
  const ended = Boolean(app.ended_ms);
  const kill = el('button', { class: 'danger', onclick: async () => {
    if (!confirm(`Kill ${id}?`)) return;
    view.complaint = null;
    try { await command(`/applications/${id}/kill`); } catch (error) { view.complaint = error.message; }
    draw(); } }, 'Kill');
  const lines = view.log.split('\n').filter((line) => !logFilter || line.includes(logFilter));
  return [
    el('div', { class: 'tools' }, el('h1', {}, `${id} · ${app.name}`), state(app.state), ended ? null : kill),
    view.complaint ? el('p', { class: 'error', role: 'alert' }, view.complaint) : null,
    app.error ? el('div', { class: 'error', role: 'alert' }, el('p', {}, `${app.error.code}: ${app.error.message}`),
      app.error.help ? el('p', { class: 'quiet' }, app.error.help) : null) : null,
    el('dl', {}, ...[['Submitted', when(app.submitted_ms)], ['Time', lasted(app)],
      ['Owner', app.owner || 'cluster'], ['Pool', app.pool], ['Driver', workerName(app.driver)],
      ['Attempt', app.attempt], ['Result', app.result_bytes === null ? '–' : bytes(app.result_bytes)],
      ...Object.entries(app.tags)].flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])),
    el('h2', {}, 'Stages'),
    rows.length ? graph(rows) : null,
    table(['Stage', 'Progress', '#Tasks', '#Running', '#Failed', '#Median', '#Slowest', '#Records', '#Read', '#Written'],
      rows.map((row) => [
        el('button', { onclick: () => { view.stage = row.stage; draw(); } }, `stage-${row.stage} ${row.name}`),
        bar(row.done, row.tasks), `${count(row.done)} / ${count(row.tasks)}`, count(row.running), count(row.failed),
        row.median === null ? '–' : span(row.median), row.slowest === null ? '–' : span(row.slowest),
        count(row.records), bytes(row.bytes), bytes(row.written)]), 'No stage yet.'),
    view.stage === null ? null : attemptTable(view),
    el('h2', { id: 'log' }, 'Output'),
    view.refusal ? el('p', { class: 'quiet' }, view.refusal.message) : [
      el('div', { class: 'tools' }, el('input', { id: 'filter', type: 'search', placeholder: 'Lines that contain…',
        'aria-label': 'Filter the output', value: logFilter,
        oninput: (event) => { logFilter = event.target.value; draw(); } })),
      el('pre', { tabindex: 0 }, lines.slice(-1000).join('\n') || 'Nothing was printed.')]];
}

// ---- drawing --------------------------------------------------------------------------------------------

const PAGES = { '': overview, applications, workers, plugins };
let drawing = 0;
let pending = 0;

async function draw() {
  pending += 1;
  try { await drawOnce(++drawing); } finally { pending -= 1; }
}

async function drawOnce(turn) {
  const [page, id] = location.hash.replace(/^#\/?/, '').split('/');
  let nodes;
  try {
    nodes = await (page === 'applications' && id ? application(id) : (PAGES[page] || overview)());
    live.textContent = 'live'; live.className = '';
  } catch (error) {
    if (!(error instanceof Refused)) {
      live.textContent = 'the master does not answer'; live.className = 'lost';
      return;
    }
    nodes = error.status === 401
      ? [el('h1', {}, 'Not logged in'), el('p', {}, 'Run ', el('code', {}, 'firesteel ui'),
        ' and open the link that it prints.')]
      : [el('div', { class: 'error', role: 'alert' }, el('p', {}, `${error.error.code}: ${error.error.message}`),
        el('p', { class: 'quiet' }, error.error.help))];
  }
  if (turn !== drawing) return;
  show(nodes.flat().filter(Boolean));
  for (const link of document.querySelectorAll('nav a')) {
    const mine = link.dataset.page === (page || 'overview');
    if (mine) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
  }
  document.title = `${id || page || 'Cluster'} · Firesteel`;
}

// Puts the new page in place, and keeps where the reader is: the focus, the caret, how far boxes are scrolled.
function show(nodes) {
  const focus = document.activeElement;
  const inside = main.contains(focus) ? [focus.id, focus.textContent, focus.selectionStart] : null;
  const scrolled = [...main.querySelectorAll('.scroll, pre')].map((box) => [
    box.scrollLeft, box.scrollTop, box.scrollTop + box.clientHeight >= box.scrollHeight - 4]);
  main.replaceChildren(...nodes);
  [...main.querySelectorAll('.scroll, pre')].forEach((box, at) => {
    const [left, top, bottom] = scrolled[at] || [0, 0, box.tagName === 'PRE'];
    box.scrollLeft = left; box.scrollTop = bottom && box.tagName === 'PRE' ? box.scrollHeight : top;
  });
  if (!inside) return;
  const again = inside[0] ? document.getElementById(inside[0])
    : [...main.querySelectorAll('button, a')].find((node) => node.textContent === inside[1]);
  if (again) {
    again.focus({ preventScroll: true });
    if (inside[2] !== undefined && inside[2] !== null) again.setSelectionRange(inside[2], inside[2]);
  }
}

async function whoami() {
  try {
    const me = await json('/whoami');
    document.getElementById('who').textContent = `${me.name || 'cluster'} (${me.role})`;
  } catch (ignored) { /* the page says it */ }
}

window.addEventListener('hashchange', () => { main.focus({ preventScroll: true }); scrollTo(0, 0); draw(); });
// A look that takes longer than the pause is not overtaken by the next one, which would discard it.
setInterval(() => {
  if (!document.hidden && !pending && getSelection().isCollapsed) draw();
}, LOOK_AGAIN_MS);
whoami();
draw();
