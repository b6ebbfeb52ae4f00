// The pages that list: the cluster, all applications, workers with what runs on them, plugins.

import { ask, change, isAdmin, json, metrics } from './api.js';
import { choice, complaint, el, figure, state, sure, table } from './dom.js';
import { address, choose, place, redraw } from './place.js';
import { appName, bytes, count, lasted, ownerName, sandbox, tags, when, workerName } from './words.js';

const PAGE = 50;
const STATES = ['waiting', 'running', 'succeeded', 'failed', 'killed'];
const APP_HEAD = ['Application', 'Name', 'State', 'Owner', 'Pool', 'Submitted', '#Time'];

const appRow = (app) => ({ key: appName(app.app), cells: [
  el('a', { href: `#/applications/${appName(app.app)}` }, appName(app.app)),
  [app.name, ' ', tags(app.tags || {})], state(app.state), ownerName(app.owner), app.pool,
  when(app.submitted_ms), app.state === 'waiting' ? '–' : lasted(app)] });

export async function overview() {
  const [numbers, running, apps, workers] = await Promise.all([
    metrics(), json('/applications?state=running&limit=10'), json('/applications?limit=10'), json('/workers')]);
  const of = (name) => numbers[`firesteel_applications{state="${name}"}`] || 0;
  const slots = numbers.firesteel_task_slots || 0;
  const linked = (value, name, chosen) => el('a', { class: 'figure', href: `#/applications?state=${chosen}` },
    el('b', {}, count(value)), el('span', {}, name));
  return [
    el('h1', {}, 'Cluster'),
    el('div', { class: 'figures' },
      figure(count(numbers.firesteel_workers_alive || 0), 'workers'),
      figure(`${slots - (numbers.firesteel_task_slots_free || 0)} / ${slots}`, 'task slots in use'),
      ...STATES.map((name) => linked(of(name), name, name))),
    el('h2', {}, 'Running'),
    table('Running applications', APP_HEAD, running.map(appRow), 'Nothing runs.'),
    el('h2', {}, 'Newest'),
    table('Newest applications', APP_HEAD, apps.map(appRow), [
      'Nothing was submitted yet. On a terminal: ', el('code', {}, 'firesteel submit JOB.so ARGUMENT=VALUE')]),
    el('h2', {}, 'Workers'), workerTable(workers)];
}

/// All applications, chosen by the master among all that it knows.
export async function applications() {
  const { chosen } = place();
  const of = (name) => chosen.get(name) || '';
  const offset = Number(of('offset')) || 0;
  const wanted = new URLSearchParams({ offset, limit: PAGE });
  for (const name of ['state', 'name', 'owner', 'pool', 'tag']) if (of(name)) wanted.set(name, of(name));
  const answer = await ask(`/applications?${wanted}`);
  const apps = await answer.json();
  const total = answer.headers.get('X-Total-Count');
  const text = (name, hint) => el('label', {}, hint, el('input', { id: `by-${name}`, type: 'search',
    value: of(name), oninput: (event) => choose({ [name]: event.target.value.trim(), offset: '' }, true) }));
  const turn = (to, on, label) => el(on ? 'a' : 'span', { class: 'button', href: on ? address({ offset: to })
    : null, 'aria-disabled': on ? null : 'true' }, label);
  const filtered = [...chosen.keys()].some((name) => name !== 'offset');
  const all = total === null ? '' : ` of ${count(total)}`;
  const shown = apps.length ? `${offset + 1}–${offset + apps.length}${all}` : '';
  const hasMore = total === null ? apps.length === PAGE : offset + apps.length < Number(total);
  return [
    el('h1', {}, 'Applications'),
    el('div', { class: 'tools', key: 'tools 1', role: 'search' },
      text('name', 'Name contains'),
      el('label', {}, 'State', choice({ id: 'by-state', onchange: (event) => choose(
        { state: event.target.value, offset: '' }) }, [['', 'any'], ...STATES], of('state'))),
      text('owner', 'Owner'), text('pool', 'Pool'), text('tag', 'Tag (NAME or NAME=VALUE)')),
    table('Applications', APP_HEAD, apps.map(appRow), filtered
      ? ['No application is like that. ', el('a', { href: '#/applications' }, 'Show all')]
      : offset ? 'There are no earlier ones.' : 'Nothing was submitted yet.'),
    el('div', { class: 'tools', key: 'tools 2' }, turn(offset > PAGE ? String(offset - PAGE) : '', offset > 0, 'Newer'),
      turn(String(offset + PAGE), hasMore, 'Older'),
      el('span', { class: 'quiet' }, shown))];
}

let refused = null;

function drain(worker) {
  return async () => {
    const name = workerName(worker.worker);
    const what = 'It gets no further tasks, its map outputs move to others, then it ends.';
    if (!await sure(`Drain ${name}? ${what}`, 'Drain')) return;
    refused = null;
    try { await change('POST', `/workers/${name}/drain`); } catch (error) { refused = error; }
    redraw();
  };
}

function workerTable(workers, admin) {
  const head = ['Worker', 'State', '#Slots in use', '#Drivers', '#Memory', 'Host', 'Data server', 'Sandbox'];
  const rows = workers.map((worker) => ({ key: workerName(worker.worker), cells: [
    workerName(worker.worker), state(worker.alive ? (worker.draining ? 'draining' : 'alive') : 'lost'),
    `${worker.slots - worker.slots_free} / ${worker.slots}`, count(worker.drivers), bytes(worker.memory),
    worker.host, worker.address, sandbox(worker.sandbox),
    ...(admin ? [worker.alive && !worker.draining
      ? el('button', { 'aria-label': `Drain ${workerName(worker.worker)}`, onclick: drain(worker) }, 'Drain') : '']
      : [])] }));
  return table('Workers', admin ? [...head, 'Action'] : head, rows, [
    'No worker has registered yet. On a terminal: ', el('code', {}, 'firesteel worker')]);
}

export async function workers() {
  const [all, executors] = await Promise.all([json('/workers'), json('/executors')]);
  return [el('h1', {}, 'Workers'), refused ? complaint(refused) : null, workerTable(all, isAdmin()),
    el('h2', {}, 'Executors'), executorTable(executors, 'No executor runs: each application starts its own.')];
}

export function executorTable(executors, none) {
  return table('Executors',
    ['Application', 'Worker', 'Host', '#Process', 'Started', '#Slots in use', '#Memory', 'Sandbox'],
    executors.map((one) => ({ key: `${one.app} ${one.worker}`, cells: [
      el('a', { href: `#/applications/${appName(one.app)}` }, appName(one.app)), workerName(one.worker), one.host,
      one.pid, when(one.started_ms), `${one.slots_used} / ${one.slots}`, one.memory ? bytes(one.memory) : '–',
      sandbox(one.sandbox)] })), none);
}

export async function plugins() {
  const list = await json('/plugins');
  return [el('h1', {}, 'Plugins'), table('Plugins', ['Plugin', '#Size', 'Entry points'], list.map((plugin) => ({
    key: plugin.hash, cells: [
      el('code', { title: plugin.hash }, plugin.hash.slice(0, 12)), bytes(plugin.bytes),
      plugin.descriptor.entries.map((entry) => el('div', { class: 'entry' }, el('b', {}, entry.name), ` ${entry.doc} `,
        el('span', { class: 'quiet' }, entry.args.map(
          (arg) => `${arg.name}: ${arg.type}${arg.optional ? ' (optional)' : ''}`).join(', '))))] })),
  'No plugin was uploaded yet: a submission uploads its own.')];
}
