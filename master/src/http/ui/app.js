// The frame of the pages: which one is shown, that it is shown anew every second, and what is said when the
// master does not answer.

import { Away, Refused, isAdmin, json, me } from './api.js';
import { application } from './application.js';
import { complaint, el, patch } from './dom.js';
import { applications, overview, plugins, workers } from './lists.js';
import { onDraw, place } from './place.js';
import { tokens } from './tokens.js';

const LOOK_AGAIN_MS = 1000;
const PAGES = { overview, applications, workers, plugins, tokens };
const main = document.getElementById('main');
const live = document.getElementById('live');
let turn = 0;
let pending = 0;
/// Whether nobody is logged in: then there is nothing to ask, and asking again would only be refused again.
let isOut = false;

function say(text, kind) {
  if (live.textContent !== text) live.textContent = text;
  live.className = kind;
}

const noSuchPage = async () => [el('h1', {}, 'There is no such page'),
  el('p', {}, el('a', { href: '#/' }, 'To the overview'))];

function pageOf([page = 'overview', id, stage]) {
  if (page === 'applications' && id) {
    return /^app-\d+$/.test(id) ? () => application(id, stage) : noSuchPage;
  }
  return Object.hasOwn(PAGES, page) ? PAGES[page] : noSuchPage;
}

function refusal(error) {
  if (error.status !== 401) return [complaint(error), el('p', {}, el('a', { href: '#/' }, 'To the overview'))];
  return [el('h1', {}, 'Not logged in'), el('p', {}, 'Run ', el('code', {}, 'firesteel ui'),
    ' on a terminal, and open the link that it prints. A link counts once, and a session lasts twelve hours '
    + 'or until the master restarts.')];
}

async function draw() {
  pending += 1;
  const mine = ++turn;
  const { steps } = place();
  try {
    let nodes;
    try {
      if (!me.role) await whoami();
      nodes = await pageOf(steps)();
      isOut = false;
      say('live', '');
    } catch (error) {
      if (error instanceof Away) {
        // What was shown stays, and it is said that it is old.
        say('the master does not answer; this is what it said last', 'lost');
        return;
      }
      if (!(error instanceof Refused)) throw error;
      isOut = error.status === 401;
      if (isOut) me.role = '';
      say(isOut ? '' : 'live', '');
      nodes = refusal(error);
    }
    if (mine === turn) show(nodes, steps);
  } finally { pending -= 1; }
}

function show(nodes, [page = 'overview', id]) {
  const tails = [...main.querySelectorAll('.tail')].filter(
    (box) => box.scrollTop + box.clientHeight >= box.scrollHeight - 8);
  const holder = el('main', {}, nodes);
  patch(main, [...holder.childNodes]);
  for (const box of main.querySelectorAll('.tail')) {
    if (tails.includes(box) || !box.shown) box.scrollTop = box.scrollHeight;
    box.shown = true;
  }
  for (const link of document.querySelectorAll('nav a')) {
    if (link.dataset.page === page) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = `${id || page[0].toUpperCase() + page.slice(1)} · Firesteel`;
}

async function whoami() {
  Object.assign(me, await json('/whoami'));
  document.getElementById('who').textContent = `${me.name || 'cluster'} (${me.role})`;
  for (const link of document.querySelectorAll('nav a.admin')) link.hidden = !isAdmin();
}

/// The page that is drawn anew would drop what is selected in it.
const isSelecting = () => !getSelection().isCollapsed && main.contains(getSelection().anchorNode);

onDraw(draw);
window.addEventListener('hashchange', (event) => {
  // A new page begins at its top; another stage of the same application does not.
  const page = (url) => new URL(url).hash.split('?')[0].split('/').slice(0, 3).join('/');
  if (page(event.oldURL) !== page(event.newURL)) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  draw();
});
setInterval(() => {
  if (document.hidden || isOut) return;
  if (isSelecting()) say('paused while text is selected', '');
  // A look that takes longer than the pause is not overtaken by the next one, which would discard it.
  else if (!pending) draw();
}, LOOK_AGAIN_MS);
draw();
