// The routes, as whoever logged in.

const API = '/api/firesteel/v1';
const ANSWER_WITHIN_MS = 30000;

/// An answer that says no: `error` is the object of the daemon, with code, message and help.
export class Refused extends Error {
  constructor(status, error) { super(error.message); this.status = status; this.error = error; }
}

/// No answer came: the master is away.
export class Away extends Error {}

async function send(path, options) {
  const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
  const same = { credentials: 'same-origin', cache: 'no-store', signal };
  try {
    return await fetch(API + path, { ...same, ...options });
  } catch (error) {
    throw new Away('the master does not answer');
  }
}

export async function ask(path, options) {
  const answer = await send(path, options);
  if (!answer.ok) {
    let error = { code: String(answer.status), message: answer.statusText, help: '' };
    try { error = (await answer.json()).error; } catch (ignored) { /* not one of ours */ }
    throw new Refused(answer.status, error);
  }
  return answer;
}

export const json = async (path) => (await ask(path)).json();

/// The same, or null if this master or this caller has no such thing.
export async function maybe(path) {
  try {
    return await json(path);
  } catch (error) {
    if (error instanceof Refused && [403, 404].includes(error.status)) return null;
    throw error;
  }
}

/// Changes something. The header says that one of these pages asks, which no page of another origin can say.
export function change(method, path, body) {
  const headers = { 'X-Firesteel-Page': '1' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  return ask(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
}

export async function metrics() {
  const found = {};
  for (const line of (await (await ask('/metrics')).text()).split('\n')) {
    const at = line.lastIndexOf(' ');
    if (at > 0 && line[0] !== '#') found[line.slice(0, at)] = Number(line.slice(at + 1));
  }
  return found;
}

/// Who logged in; a role allows what those before it allow.
export const me = { name: '', role: '' };
export const isAdmin = () => me.role === 'admin';
export const maySubmit = () => isAdmin() || me.role === 'submit';
export const owns = (app) => isAdmin() || (me.role === 'submit' && app.owner === me.name);
