// Where the reader is: the part of the address behind `#`, such as #/applications?state=failed. All that a
// reader chooses stands in it, so that a link, a reload and the way back show the same.

let drawer = () => Promise.resolve();

export const onDraw = (draw) => { drawer = draw; };
export const redraw = () => drawer();

/// The steps of the path, and what was chosen.
export function place() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  return { steps: path.split('/').filter(Boolean).map(decodeURIComponent), chosen: new URLSearchParams(query) };
}

/// The address of what is chosen beside what is there; what is empty is left out.
export function address(changes) {
  const { chosen } = place();
  for (const [name, value] of Object.entries(changes)) {
    if (value) chosen.set(name, value); else chosen.delete(name);
  }
  const [path] = location.hash.split('?');
  const query = chosen.toString();
  return `${path || '#/'}${query ? `?${query}` : ''}`;
}

let typing;

/// Chooses something, without a step of its own on the way back.
export function choose(changes, soon) {
  clearTimeout(typing);
  const doIt = () => { history.replaceState(null, '', address(changes)); redraw(); };
  if (soon) typing = setTimeout(doIt, 200); else doIt();
}
