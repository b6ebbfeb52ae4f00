// One application as it is told by its event log, read on from where the last reading ended.

import { Refused, ask, json, maybe, owns } from './api.js';
import { quantile } from './words.js';

/// Answers that are read in one go, of 8 MiB each at most.
const PIECES = 50;
const LOG_KEPT = 400000;

export class Followed {
  constructor(id) {
    this.id = id; this.from = 0; this.last = 0; this.clock = null; this.attempts = new Map();
    this.stages = new Map(); this.jobs = new Map(); this.losses = []; this.log = ''; this.logFrom = 0;
    this.cut = false; this.logEnded = false; this.eventsEnded = false; this.reading = null; this.complaint = null;
    this.submission = undefined; this.sawEnd = false; this.source = ''; this.wanted = ''; this.sources = [];
  }

  // One reading at a time: two that overlap would count the same lines twice, and then leave out as many.
  read() {
    this.reading = this.reading || this.readOnce().finally(() => { this.reading = null; });
    return this.reading;
  }

  async readOnce() {
    const path = `/applications/${this.id}`;
    this.app = await json(path);
    if (!this.progress || !this.app.ended_ms) {
      [this.progress, this.executors] = await Promise.all([json(`${path}/progress`), json(`${path}/executors`)]);
    }
    if (this.app.ended_ms) this.executors = [];
    if (this.submission === undefined) this.submission = owns(this.app) ? await maybe(`${path}/submission`) : null;
    await this.readEvents(path);
    if (this.progress.at && !this.app.ended_ms) this.tick(this.progress.at);
    if (owns(this.app)) await this.readLog(path);
  }

  /// Reads on in the output of one process, or of all if `source` is empty.
  async readLog(path) {
    if (this.source !== this.wanted) {
      Object.assign(this, { source: this.wanted, log: '', logFrom: 0, logEnded: false, cut: false });
    }
    const only = this.source ? `&source=${encodeURIComponent(this.source)}` : '';
    try {
      if (!this.logEnded) this.sources = (await json(`${path}/logs/sources`)).map((one) => one.source);
      for (let piece = 0; piece < PIECES && !this.logEnded; piece += 1) {
        const before = this.logFrom;
        const { text, next, truncated, end } = await json(`${path}/logs?from=${this.logFrom}${only}`);
        this.log += text;
        this.cut = this.cut || truncated || this.log.length > LOG_KEPT;
        this.log = this.log.slice(-LOG_KEPT);
        this.logFrom = next;
        this.logEnded = end;
        if (next === before) break;
      }
      this.refusal = null;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.refusal = error;
    }
  }

  async readEvents(path) {
    for (let piece = 0; piece < PIECES && !this.eventsEnded; piece += 1) {
      const text = await (await ask(`${path}/events?from=${this.from}`)).text();
      if (!text) { this.eventsEnded = this.sawEnd; return; }
      for (const line of text.split('\n')) if (line) { this.from += 1; this.hear(JSON.parse(line)); }
    }
  }

  hear(event) {
    // The clock of a master begins at zero: what began before a restart began before that, nobody knows when.
    if (event.at < this.last) { this.moveBack(this.last); this.clock = null; }
    const at = event.at;
    this.last = at;
    this.tick(at);
    const key = event.task && `${event.task.stage}/${event.task.partition}.${event.task.attempt}`;
    const known = key && this.attempts.get(key);
    const ended = (how, more) => { if (known) Object.assign(known, { how, end: at }, more); };
    switch (event.event) {
      case 'app_ended': this.sawEnd = true; break;
      case 'app_started': this.attempts.clear(); this.stages.clear(); this.jobs.clear(); break;
      case 'job_started': this.jobs.set(event.job, { job: event.job, name: event.name, start: at }); break;
      case 'job_ended': Object.assign(this.jobs.get(event.job) || {}, { end: at, error: event.error }); break;
      case 'stage_added': this.stages.set(event.stage, {
        stage: event.stage, name: event.name, tasks: event.tasks, inputs: event.inputs, start: at }); break;
      case 'stage_finished': Object.assign(this.stages.get(event.stage) || {}, { end: at }); break;
      case 'task_started': this.attempts.set(key, {
        key, ...event.task, worker: event.worker, cause: event.cause, start: at, how: 'running' }); break;
      case 'task_finished': ended('succeeded', { metrics: event.metrics }); break;
      case 'task_failed': ended('failed', { error: event.error }); break;
      case 'task_lost': ended('lost', { error: { message: event.reason } }); break;
      case 'executor_lost': this.lose(at, `the executor on worker-${event.worker} died: ${event.reason}`); break;
      case 'worker_lost': this.lose(at, `worker-${event.worker} was lost: ${event.reason}`); break;
      case 'rolled_back': this.lose(at, `stage-${event.stage} came out differently when it ran again, so`
        + ` ${event.consumers.map((id) => `stage-${id}`).join(', ')} began anew`); break;
      default: break;
    }
  }

  /// The zero of the clock is now where `by` was.
  moveBack(by) {
    for (const one of [...this.attempts.values(), ...this.stages.values(), ...this.jobs.values()]) {
      one.start -= by;
      if (one.end !== undefined) one.end -= by;
    }
  }

  lose(at, text) {
    this.losses.push({ at, text });
    if (this.losses.length > 100) this.losses.shift();
  }

  /// The master's clock says `at` now; it goes on by itself until it is heard of again.
  tick(at) { if (!this.clock || at > this.now()) this.clock = { at, seen: performance.now() }; }

  /// The time on the master's clock, in microseconds; that of the end, if the application has ended.
  now() {
    return this.app.ended_ms ? this.last : this.clock.at + 1000 * (performance.now() - this.clock.seen);
  }

  /// Milliseconds that something lasted or has lasted so far.
  time(one) { return Math.max(0, ((one.end || (this.clock ? this.now() : one.start)) - one.start) / 1000); }

  attemptsOf(stage) { return [...this.attempts.values()].filter((attempt) => attempt.stage === stage); }

  row(id) {
    const mine = this.attemptsOf(id);
    const times = mine.filter((attempt) => attempt.how === 'succeeded').map((attempt) => this.time(attempt))
      .sort((a, b) => a - b);
    const told = this.progress.stages.find((stage) => stage.stage === id);
    const done = told ? told.finished : new Set(mine.filter((a) => a.how === 'succeeded').map((a) => a.partition)).size;
    const running = mine.filter((a) => a.how === 'running');
    const sum = (of) => mine.reduce((all, a) => all + (a.metrics ? of(a.metrics) : 0), 0);
    return { ...this.stages.get(id), done, running: running.length,
      failed: mine.filter((a) => a.how === 'failed' || a.how === 'lost').length,
      records: sum((m) => m.input_records + m.read_records),
      bytes: sum((m) => m.input_bytes + m.local_read_bytes + m.remote_read_bytes),
      written: sum((m) => m.written_bytes), spilled: sum((m) => m.spilled_bytes), median: quantile(times, 0.5),
      slowest: mine.length ? Math.max(...mine.map((a) => this.time(a))) : null };
  }

  /// The lines that are kept and contain a text in lower case.
  lines(text) {
    const all = this.log.split('\n');
    return text ? all.filter((line) => line.toLowerCase().includes(text)) : all;
  }
}
