// The stages of an application as a graph, from left to right.

import { el, svg } from './dom.js';

const WIDTH = 180;
const HEIGHT = 48;
const STEP_X = 220;
const STEP_Y = 64;

/// How many stages must be done before each.
function depths(rows) {
  const byId = new Map(rows.map((row) => [row.stage, row]));
  const depth = new Map();
  // Inputs have smaller numbers mostly, but nothing here relies on it.
  const deep = (id) => {
    if (!depth.has(id)) {
      depth.set(id, 0);
      const inputs = (byId.get(id) || { inputs: [] }).inputs.filter((input) => byId.has(input));
      depth.set(id, inputs.length ? 1 + Math.max(...inputs.map(deep)) : 0);
    }
    return depth.get(id);
  };
  rows.forEach((row) => deep(row.stage));
  return depth;
}

const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

/// `link` gives the address of a stage; `chosen` is the one that is looked at.
export function graph(rows, chosen, link) {
  const depth = depths(rows);
  const columns = [];
  for (const row of rows) (columns[depth.get(row.stage)] ||= []).push(row.stage);
  const spot = new Map();
  columns.forEach((ids, x) => ids.forEach((id, y) => spot.set(id, [10 + STEP_X * x, 10 + STEP_Y * y])));
  const edges = rows.flatMap((row) => row.inputs.filter((id) => spot.has(id)).map((id) => {
    const [x, y] = spot.get(id);
    const [toX, toY] = spot.get(row.stage);
    const from = x + WIDTH;
    const half = (toX - from) / 2;
    const [fromY, atY] = [y + HEIGHT / 2, toY + HEIGHT / 2];
    return svg('path', { class: 'edge', 'marker-end': 'url(#arrow)',
      d: `M${from} ${fromY} C${from + half} ${fromY} ${toX - half} ${atY} ${toX - 3} ${atY}` });
  }));
  const nodes = rows.map((row) => {
    const [x, y] = spot.get(row.stage);
    const kind = row.end || row.done >= row.tasks ? 'done' : row.running ? 'busy' : '';
    const label = `stage-${row.stage} ${row.name}, ${row.done} of ${row.tasks} tasks`;
    return svg('a', { href: link(row.stage), 'aria-label': label, key: `stage-${row.stage}` },
      svg('title', {}, label),
      svg('rect', { class: `node ${kind} ${row.stage === chosen ? 'chosen' : ''}`, x, y, width: WIDTH,
        height: HEIGHT, rx: 5 }),
      svg('text', { x: x + 10, y: y + 20 }, cut(row.name, 24)),
      svg('text', { class: 'sub', x: x + 10, y: y + 37 }, `stage-${row.stage} · ${row.done} of ${row.tasks} tasks`
        + `${row.failed ? ` · ${row.failed} failed` : ''}`));
  });
  const width = 10 + STEP_X * columns.length;
  const height = 8 + STEP_Y * Math.max(...columns.map((ids) => ids.length));
  const arrow = svg('defs', {}, svg('marker', { id: 'arrow', viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7,
    markerHeight: 7, orient: 'auto' }, svg('path', { class: 'head', d: 'M0 0 L8 4 L0 8 z' })));
  return el('div', { class: 'scroll', key: 'graph' }, svg('svg', { width, height, role: 'group',
    'aria-label': 'Stages and what they read' }, arrow, edges, nodes));
}
