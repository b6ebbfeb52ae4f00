// Tokens: who may speak to the master. For administrators.

import { change, json } from './api.js';
import { choice, complaint, el, state, sure, table } from './dom.js';
import { redraw } from './place.js';
import { when } from './words.js';

const ROLES = [['viewer', 'viewer: look'], ['submit', 'submit: look, run, end what is one’s own'],
  ['admin', 'admin: everything']];

/// The token that was made last; it is told once, and only this page has it.
let made = null;
let refused = null;

async function attempt(what) {
  refused = null;
  try { await what(); } catch (error) { refused = error; }
  redraw();
}

function create(event) {
  event.preventDefault();
  const form = event.target;
  const wanted = { name: form.elements.name.value.trim(), role: form.elements.role.value };
  attempt(async () => {
    made = await (await change('POST', '/tokens', wanted)).json();
    form.elements.name.value = '';
  });
}

async function revoke(name) {
  if (!await sure(`Revoke the token of ‘${name}’? Whoever uses it is shut out at once.`, 'Revoke')) return;
  await attempt(async () => {
    await change('DELETE', `/tokens/${encodeURIComponent(name)}`);
    if (made && made.info.name === name) made = null;
  });
}

function shown() {
  const copy = async (event) => {
    const button = event.target;
    try {
      await navigator.clipboard.writeText(made.token);
      button.textContent = 'Copied';
    } catch (ignored) {
      getSelection().selectAllChildren(document.getElementById('token'));
    }
  };
  return el('div', { class: 'note', role: 'status', key: made.info.name },
    el('p', {}, `The token of ‘${made.info.name}’ (${made.info.role}). It is shown this once: keep it now.`),
    el('p', {}, el('code', { id: 'token' }, made.token)),
    el('div', { class: 'tools', key: 'tools 1' }, el('button', { onclick: copy }, 'Copy'),
      el('button', { onclick: () => { made = null; redraw(); } }, 'I have it')));
}

export async function tokens() {
  const list = await json('/tokens');
  return [
    el('h1', {}, 'Tokens'),
    refused ? complaint(refused) : null,
    made ? shown() : null,
    el('form', { class: 'tools', key: 'tools 2', onsubmit: create, autocomplete: 'off' },
      el('label', {}, 'Name', el('input', { id: 'token-name', name: 'name', required: true, maxlength: 64 })),
      el('label', {}, 'Role', choice({ name: 'role' }, ROLES, 'submit')),
      el('button', {}, 'Make a token')),
    table('Tokens', ['Name', 'Role', 'Made', 'Last used', 'Action'], list.map((token) => ({ key: token.name, cells: [
      token.name, state(token.role), when(token.created_ms),
      token.last_used_ms === null ? el('span', { title: 'since the master started' }, 'not yet')
        : when(token.last_used_ms),
      el('button', { class: 'danger', 'aria-label': `Revoke ${token.name}`, onclick: () => revoke(token.name) },
        'Revoke')] })),
    'There is only the cluster’s own token, the file ‘token’ of the run directory. Make one for each person and '
    + 'program.')];
}
