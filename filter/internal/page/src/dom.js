// The page is a function of what is known, made anew every second: h describes elements, render changes those that are there to
// match. So what has the focus keeps it, and bars move from where they were. Whatever comes from outside becomes text or the
// value of an attribute, never markup.

const svgTags = new Set(['svg', 'path', 'line', 'g', 'rect', 'text']);

// h describes an element. Attributes that are null, undefined or false are left out; on... are handlers; style is an
// object; key tells an element from its siblings; opened is how a <details> begins, which then is its reader's to open and close.
function h(tag, attributes, ...children) {
  return { tag, attributes: attributes || {}, children: children.flat(9).filter(c => c != null && c !== false && c !== '') };
}

// render makes the children of parent what is described. A child with a key is recognized wherever it has moved to.
function render(parent, described) {
  [].concat(described).forEach((want, i) => {
    let have = parent.childNodes[i];
    const key = want.attributes?.key;
    if (key !== undefined && have?.$key !== key) {
      const known = [...parent.childNodes].slice(i).find(node => node.$key === key);
      if (known) parent.insertBefore(known, have);
      have = known || have;
    }
    if (!matches(have, want)) {
      const fresh = create(want);
      parent.insertBefore(fresh, have || null);
      have = fresh;
    }
    if (want.tag) {
      change(have, want.attributes);
      render(have, want.children);
    } else if (have.data !== String(want)) {
      have.data = String(want);
    }
  });
  while (parent.childNodes.length > [].concat(described).length) parent.lastChild.remove();
}

function matches(node, want) {
  if (!node) return false;
  if (!want.tag) return node.nodeType === 3;
  return node.localName === want.tag && node.$key === want.attributes.key;
}

function create(want) {
  if (!want.tag) return document.createTextNode(want);
  const node = svgTags.has(want.tag) ? document.createElementNS('http://www.w3.org/2000/svg', want.tag) : document.createElement(want.tag);
  node.$key = want.attributes.key;
  if (want.attributes.opened) node.open = true;
  return node;
}

// Attributes that say how an element began; how it is now is a property.
const properties = new Set(['value', 'checked', 'disabled', 'selected', 'hidden', 'readOnly']);

function change(node, attributes) {
  for (const name in { ...node.$attributes, ...attributes }) {
    const value = attributes[name];
    if (name === 'key' || name === 'opened') continue;
    if (name.startsWith('on')) node[name] = value || null;
    else if (name === 'style') Object.entries(value || {}).forEach(([property, to]) => node.style.setProperty(property, to));
    else if (properties.has(name)) { if (node[name] !== (value ?? '')) node[name] = value ?? ''; }
    else if (value == null || value === false) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value === true ? '' : value);
  }
  node.$attributes = attributes;
}

const byId = id => document.getElementById(id);
