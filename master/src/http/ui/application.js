// The page of one application: from its state down to the output of one task's executor.

import { change, owns } from './api.js';
import { bar, choice, complaint, el, state, sure, table } from './dom.js';
import { Followed } from './followed.js';
import { graph } from './graph.js';
import { executorTable } from './lists.js';
import { choose, place, redraw } from './place.js';
import { bytes, count, lasted, ownerName, span, tags, when, workerName } from './words.js';

const ATTEMPTS = 200;
const LINES = 2000;
const API = '/api/firesteel/v1';

let followed = null;

/// `steps` is what stands behind the application in the address: a stage, or nothing.
export async function application(id, stage) {
  if (!followed || followed.id !== id) followed = new Followed(id);
  const view = followed;
  view.wanted = place().chosen.get('source') || '';
  await view.read();
  const rows = [...view.stages.keys()].map((one) => view.row(one));
  const chosen = /^stage-\d+$/.test(stage || '') ? Number(stage.slice(6)) : null;
  const link = (one) => `#/applications/${id}/stage-${one}`;
  return [
    head(view), facts(view), jobTable(view),
    el('h2', {}, 'Stages'),
    rows.length ? graph(rows, chosen, link) : null,
    stageTable(rows, chosen, link, view.app),
    chosen === null ? null : attemptTable(view, chosen),
    executors(view), losses(view), submission(view), output(view)];
}

function head(view) {
  const { app, id } = view;
  const kill = async () => {
    if (!await sure(`Kill ${id}? Its tasks are stopped and everything of it is freed.`, 'Kill')) return;
    view.complaint = null;
    try { await change('POST', `/applications/${id}/kill`); } catch (error) { view.complaint = error; }
    redraw();
  };
  return [
    el('div', { class: 'tools', key: 'tools 1' }, el('h1', {}, `${id} · ${app.name}`), state(app.state),
      app.ended_ms || !owns(app) ? null : el('button', { class: 'danger', onclick: kill }, 'Kill')),
    view.complaint ? complaint(view.complaint) : null,
    app.error ? complaint({ error: app.error }) : null,
    app.error && app.error.detail ? el('details', {}, el('summary', {}, 'More of the error'),
      el('pre', {}, app.error.detail)) : null];
}

function facts(view) {
  const { app, id } = view;
  const result = app.result_bytes === null ? '–' : owns(app)
    ? el('a', { href: `${API}/applications/${id}/result`, download: `${id}-result` }, bytes(app.result_bytes))
    : bytes(app.result_bytes);
  const driver = app.driver === null && app.attempt ? 'beside the submitting command' : workerName(app.driver);
  const facts = [['Submitted', when(app.submitted_ms)], ['Time', lasted(app)], ['Owner', ownerName(app.owner)],
    ['Pool', app.pool], ['Driver', driver], ['Attempt', app.attempt], ['Result', result],
    ...(Object.keys(app.tags || {}).length ? [['Tags', tags(app.tags)]] : [])];
  return pairs(facts);
}

const pairs = (all) => el('dl', { class: 'facts' }, all.map(
  ([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));

function jobTable(view) {
  const jobs = [...view.jobs.values()];
  if (!jobs.length) return null;
  const how = (job) => (job.end === undefined ? (view.app.ended_ms ? view.app.state : 'running')
    : job.error ? 'failed' : 'succeeded');
  return [el('h2', {}, 'Jobs'), table('Jobs', ['Job', 'Name', 'State', '#Time', 'Error'], jobs.map((job) => ({
    key: `job-${job.job}`, cells: [`job-${job.job}`, job.name, state(how(job)), span(view.time(job)),
      job.error ? job.error.message : ''] })), '')];
}

function stageTable(rows, chosen, link, app) {
  const time = (ms) => (ms === null ? '–' : span(ms));
  return table('Stages',
    ['Stage', 'Progress', '#Tasks', '#Running', '#Failed', '#Median', '#Slowest', '#Records', '#Read', '#Written',
      '#Spilled'],
    rows.map((row) => ({ key: `stage-${row.stage}`, class: row.stage === chosen ? 'chosen' : null, cells: [
      el('a', { href: link(row.stage) }, `stage-${row.stage} ${row.name}`), bar(row.done, row.tasks),
      `${count(row.done)} / ${count(row.tasks)}`, count(row.running), count(row.failed), time(row.median),
      time(row.slowest), count(row.records), bytes(row.bytes), bytes(row.written),
      bytes(row.spilled)] })),
    app.state === 'waiting' ? 'It waits for room for its driver.' : 'No stage yet: the driver has asked for none.');
}

function attemptTable(view, stage) {
  const mine = view.attemptsOf(stage);
  const order = (attempt) => (attempt.how === 'running' ? 0 : 1);
  mine.sort((a, b) => order(a) - order(b) || view.time(b) - view.time(a));
  const toLog = (attempt) => (event) => {
    event.preventDefault();
    choose({ source: `executor on ${workerName(attempt.worker)}` });
    document.getElementById('log').scrollIntoView();
  };
  const rows = mine.slice(0, ATTEMPTS).map((a) => ({ key: a.key, cells: [
    a.key, state(a.how), span(view.time(a)),
    el('a', { href: '#log', title: 'Show what this executor prints', onclick: toLog(a) }, workerName(a.worker)),
    a.cause.replace('_', ' '), a.metrics ? count(a.metrics.input_records + a.metrics.read_records) : '',
    a.metrics ? bytes(a.metrics.input_bytes + a.metrics.local_read_bytes + a.metrics.remote_read_bytes) : '',
    a.error ? a.error.message : ''] }));
  const more = mine.length - rows.length;
  return [el('h2', {}, `Attempts of stage-${stage}, running ones first, then the slowest`),
    table('Attempts', ['Attempt', 'State', '#Time', 'Executor on', 'Why', '#Records', '#Read', 'Error'], rows,
      'None has started.'),
    more > 0 ? el('p', { class: 'quiet' }, `${count(more)} quicker ones are not shown.`) : null];
}

function executors(view) {
  if (!view.executors.length) return null;
  return [el('h2', {}, 'Executors'), executorTable(view.executors, '')];
}

function losses(view) {
  if (!view.losses.length) return null;
  return [el('h2', {}, 'Losses'), el('ul', {}, view.losses.map((loss) => el('li', {}, loss.text)))];
}

function submission(view) {
  const sent = view.submission;
  if (!sent) return null;
  const named = (label, all, none) => [el('h3', {}, label), table(label, ['Name', 'Value'],
    Object.entries(all || {}).map(([name, value]) => [el('code', {}, name), el('code', {}, value)]), none)];
  return el('details', { key: 'submission' }, el('summary', {}, 'How it was submitted'),
    pairs([['Entry', sent.entry || (sent.sql ? 'SQL' : '–')], ['Deploy mode', sent.deploy_mode],
      ['Plugin', sent.plugin ? el('code', { title: sent.plugin }, sent.plugin.slice(0, 12)) : '–']]),
    sent.sql ? el('pre', {}, sent.sql) : named('Arguments', sent.args, 'None.'),
    sent.sql ? named('Tables', sent.tables, 'None.') : null,
    named('Settings', sent.conf, 'None: the defaults of the cluster.'));
}

function output(view) {
  const { chosen } = place();
  const source = chosen.get('source') || '';
  const text = chosen.get('lines') || '';
  const title = el('h2', { id: 'log' }, 'Output');
  if (!owns(view.app)) {
    return [title, el('p', { class: 'empty' }, 'What it prints is shown to its owner and to administrators.')];
  }
  if (view.refusal) return [title, el('p', { class: 'quiet' }, view.refusal.message)];
  const sources = [...new Set([...view.sources, ...(source ? [source] : [])])];
  const lines = view.lines(text.toLowerCase());
  const some = lines.slice(-LINES);
  const nothing = source || text ? 'Nothing of it was printed.'
    : view.app.ended_ms ? 'Nothing was printed, or it is not kept any more.' : 'Nothing was printed yet.';
  return [title,
    el('div', { class: 'tools', key: 'tools 2' },
      el('label', {}, 'Of', choice({ id: 'source', onchange: (event) => choose({ source: event.target.value }) },
        [['', 'all processes'], ...sources], source)),
      el('label', {}, 'Lines that contain', el('input', { id: 'filter', type: 'search', value: text,
        oninput: (event) => choose({ lines: event.target.value }, true) })),
      view.cut || some.length < lines.length ? el('span', { class: 'quiet' }, 'Earlier lines are left out.') : null),
    el('pre', { key: 'output', tabindex: 0, class: 'tail', 'aria-label': 'Output' }, some.join('\n') || nothing)];
}
