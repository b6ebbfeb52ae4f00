// How numbers, times and names are written.

import { el } from './dom.js';

export const count = (n) => Number(n).toLocaleString('en');

export function bytes(n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  let value = n;
  while (value >= 1000 && at < units.length - 1) { value /= 1000; at += 1; }
  return `${at ? value.toFixed(1) : value} ${units[at]}`;
}

export function span(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 59950) return `${(ms / 1000).toFixed(1)} s`;
  // Rounded before it is cut in two, so that there is never a sixtieth second.
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(ms / 60000);
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.round(minutes / 1440)} days`;
}

export function when(ms) {
  const ago = Date.now() - ms;
  const text = ago < 1000 ? 'now' : ago < 86400000 ? `${span(Math.floor(ago / 1000) * 1000)} ago`
    : new Date(ms).toLocaleString();
  const iso = new Date(ms).toISOString();
  return el('time', { title: iso, datetime: iso }, text.replace(/\.0 s/, ' s'));
}

export const appName = (id) => `app-${id}`;
export const workerName = (id) => (id === null || id === undefined ? '–' : `worker-${id}`);
export const ownerName = (name) => name || 'cluster';
export const lasted = (app) => span((app.ended_ms || Date.now()) - app.submitted_ms);

export const tags = (all) => Object.entries(all).map(
  ([name, value]) => el('span', { class: 'tag' }, value ? `${name}=${value}` : name));

/// What is in force of a sandbox, and what is not and why.
export function sandbox(box) {
  const there = [box.landlock ? `landlock ${box.landlock}` : '', box.seccomp ? 'seccomp' : '',
    box.cgroup ? `cgroup v${box.cgroup}` : '', box.rlimits ? 'rlimits' : '',
    box.user ? `user ${box.user}` : ''].filter(Boolean).join(', ') || 'none';
  const missing = box.missing || [];
  if (!missing.length) return there;
  return el('details', {}, el('summary', {}, there, el('span', { class: 'quiet' }, ` · ${missing.length} missing`)),
    missing.map((text) => el('p', { class: 'quiet' }, text)));
}

export function quantile(sorted, share) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] : null;
}
