// Elements: made from texts that never become markup, and put in place of older ones without replacing what
// is the same, so that a page that is drawn anew keeps its focus, its selection and its open boxes.

const SVG = 'http://www.w3.org/2000/svg';

/// An element. A key that begins with `on` is a handler, `key` says which older element it continues.
export function el(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

const isThere = (value) => value !== null && value !== undefined && value !== false;

function fill(node, attributes, children) {
  node.handlers = {};
  for (const [name, value] of Object.entries(attributes || {})) {
    if (!isThere(value)) continue;
    if (name.startsWith('on')) node.handlers[name] = value;
    else if (name === 'key') node.key = String(value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  for (const [name, handler] of Object.entries(node.handlers)) node[name] = handler;
  node.append(...children.flat(Infinity).filter(isThere).map(
    (child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return node;
}

const sameKind = (a, b) => a.nodeName === b.nodeName && a.key === b.key;

/// Makes the children of `parent` those that are wanted, and keeps every node that can stay.
export function patch(parent, wanted) {
  const keyed = new Map();
  for (const child of parent.childNodes) if (child.key !== undefined) keyed.set(child.key, child);
  let at = parent.firstChild;
  for (const want of wanted) {
    const old = want.key === undefined ? at : keyed.get(want.key);
    if (old && sameKind(old, want)) {
      if (old === at) at = at.nextSibling;
      else parent.insertBefore(old, at);
      keyed.delete(want.key);
      update(old, want);
    } else {
      parent.insertBefore(want, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function update(old, want) {
  if (old.nodeType === Node.TEXT_NODE) {
    // What only grew is added to, which leaves a selection in it alone.
    if (want.data.startsWith(old.data)) old.appendData(want.data.slice(old.data.length));
    else if (old.data !== want.data) old.data = want.data;
    return;
  }
  for (const name of old.getAttributeNames()) {
    // Whether a box is open is the reader's affair.
    if (!want.hasAttribute(name) && name !== 'open') old.removeAttribute(name);
  }
  for (const name of want.getAttributeNames()) {
    const value = want.getAttribute(name);
    if (name !== 'open' && old.getAttribute(name) !== value) {
      old.setAttribute(name, value);
      // What is being typed is newer than what was drawn.
      if (name === 'value' && old !== document.activeElement) old.value = value;
    }
  }
  for (const name of Object.keys(old.handlers || {})) if (!(want.handlers || {})[name]) old[name] = null;
  Object.assign(old, want.handlers);
  old.handlers = want.handlers;
  patch(old, [...want.childNodes]);
}

/// A table; a head that begins with `#` is one of numbers. A row may be `{ key, cells }`.
export function table(label, head, rows, none) {
  if (!rows.length) return el('p', { class: 'empty' }, none);
  const cell = (name, row) => row.map((content, at) => {
    const right = head[at].startsWith('#');
    return el(name, { class: right ? 'n' : null, scope: name === 'th' ? 'col' : null },
      name === 'th' ? content.replace('#', '') : content);
  });
  const line = (row) => (Array.isArray(row) ? el('tr', {}, cell('td', row))
    : el('tr', { key: row.key, class: row.class }, cell('td', row.cells)));
  return el('div', { class: 'scroll', key: `table ${label}`, tabindex: 0, role: 'region', 'aria-label': label }, el('table', {},
    el('thead', {}, el('tr', {}, cell('th', head))), el('tbody', {}, rows.map(line))));
}

export const figure = (value, name) => el('div', { class: 'figure' },
  el('b', {}, value), el('span', {}, name));
export const state = (name) => el('span', { class: `state ${name}` }, name);

export function bar(done, all) {
  const whole = all > 0 && done >= all;
  return el('progress', { class: whole ? 'done' : null, max: Math.max(1, all), value: done,
    title: `${done} of ${all}`, 'aria-label': `${done} of ${all}` });
}

/// A choice among names; `values` are the names or pairs of a value and what is shown for it.
export function choice(attributes, values, chosen) {
  return el('select', attributes, values.map((one) => {
    const [value, shown] = Array.isArray(one) ? one : [one, one];
    return el('option', { value, selected: value === chosen }, shown);
  }));
}

/// Something that went wrong, with its remedy.
export function complaint(error) {
  const known = error.error || { code: '', message: error.message, help: '' };
  return el('div', { class: 'error', role: 'alert' },
    el('p', {}, known.code ? el('b', {}, `${known.code} `) : null, known.message),
    known.help ? el('p', { class: 'quiet' }, known.help) : null);
}

/// Asks in a box of its own; true if the answer is yes.
export function sure(question, yes) {
  return new Promise((answer) => {
    const box = el('dialog', { 'aria-label': question }, el('p', {}, question),
      el('div', { class: 'tools' },
        el('button', { class: 'danger', onclick: () => box.close('yes') }, yes),
        el('button', { autofocus: true, onclick: () => box.close('') }, 'Cancel')));
    box.onclose = () => { answer(box.returnValue === 'yes'); box.remove(); };
    document.body.append(box);
    box.showModal();
  });
}
