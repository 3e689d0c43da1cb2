// What can be changed while the proxy runs: a field for each value of the configuration that is one number, word or duration. schema,
// which is generated, has for each key either an object of keys, a list of one (of things with names), or a field: [kind, doc, default, least,
// most, words].

const pointer = path => path.map(key => '/' + String(key).replaceAll('~', '~0').replaceAll('/', '~1')).join('');

// at follows a path through a value, in lists by index or by name.
function at(value, path) {
  for (const key of path) {
    if (value == null) return undefined;
    value = Array.isArray(value) && isNaN(key) ? value.find(item => item?.name === key) : value[key];
  }
  return value;
}

// groups lists all fields, by the things that they belong to: {name, fields: [{path, names, label, spec, value}]}.
function groups(effective) {
  const general = { name: 'General', fields: [] };
  const list = [];
  const walk = (spec, path, names, label, into) => {
    for (const key in spec) {
      const to = [...path, key], called = [...names, key];
      if (Array.isArray(spec[key]) && typeof spec[key][0] !== 'string') {
        (at(effective, to) || []).forEach((item, i) => {
          const group = { name: ({ limits: 'Limit ', upstreams: 'Upstream ' })[key] + item.name, fields: [] };
          list.push(group);
          walk(spec[key][0], [...to, i], [...called, item.name], [], group);
        });
      } else if (Array.isArray(spec[key])) {
        const value = difference({ path: to })?.value ?? at(effective, to); // who has changed it is told before the configuration comes
        if (typeof value !== 'object' || value === null) {
          into.fields.push({ path: to, names: called, label: [...label, key].join('.'), spec: spec[key], value });
        }
      } else {
        walk(spec[key], to, called, [...label, key], into);
      }
    }
  };
  walk(schema, [], [], [], general);
  return [...list, general];
}

// difference is how a value differs from the file's: {file, value}; nothing if it doesn't.
const difference = f => known.overrides?.differences?.find(d => d.path === pointer(f.path));

// overridden says that a value is one of the overrides, and doesn't follow from others.
const overridden = f => [f.names, f.path].some(path => at(known.overrides?.overrides, path) !== undefined);

const shown = value => value === undefined || value === null ? '' : String(value);

// typed is what was typed as the configuration takes it. Nothing is null, by which the default comes back.
function typed(text, [kind]) {
  const trimmed = text.trim();
  if (trimmed === '') return null;
  if (kind === 'boolean') return trimmed === 'true';
  return (kind === 'number' || kind === 'integer') && !isNaN(trimmed) ? Number(trimmed) : trimmed;
}

// patch is the JSON Merge Patch of the edits: lists of named things are objects by name.
function patchOf(fields, valueOf) {
  const patch = {};
  for (const f of fields) {
    let into = patch;
    f.names.slice(0, -1).forEach(key => { into = into[key] ||= {}; });
    into[f.names.at(-1)] = valueOf(f);
  }
  return patch;
}

// inFile is a patch in the form of the configuration's file, where named things stand in lists.
function inFile(patch) {
  const whole = { ...patch };
  for (const key of ['limits', 'upstreams']) {
    if (whole[key] && !Array.isArray(whole[key])) whole[key] = Object.entries(whole[key]).map(([name, values]) => ({ name, ...values }));
  }
  return whole;
}

function tuning() {
  const effective = known.config && (known.config.config || known.config);
  if (!effective) return h('p', { class: known.failed.config ? 'error' : 'empty' }, known.failed.config || 'Asking…');
  const all = groups(effective);
  const fields = all.flatMap(g => g.fields);
  const edited = fields.filter(f => known.edits[pointer(f.path)] !== undefined);
  const changed = fields.filter(overridden);
  const wanted = known.filter.toLowerCase();
  return [
    h('section', { class: 'card bar' },
      h('label', { class: 'inline grow' }, h('span', { class: 'hidden' }, 'Find a setting'),
        h('input', { type: 'search', placeholder: 'Find a setting…', value: known.filter, oninput: e => { known.filter = e.target.value; draw(); } })),
      h('button', { class: 'primary', disabled: !edited.length, onclick: () => apply(edited) }, edited.length ? 'Apply ' + edited.length : 'Apply'),
      h('button', { disabled: !edited.length, onclick: () => { known.edits = {}; known.wrong = {}; draw(); } }, 'Discard'),
      h('button', { disabled: !changed.length, onclick: () => inquire({ title: 'Reset all?', danger: true, action: 'Reset all',
        text: 'What the file says is in force again, for ' + changed.length + ' settings.',
        then: () => change_('overrides', { method: 'DELETE' }, 'All is as the file says.') }) }, 'Reset all'),
      h('button', { onclick: () => copy(changed, edited) }, 'Copy as YAML'),
      (known.overrides?.problem || known.wrong['']) && h('p', { class: 'error wide', role: 'alert' }, known.wrong[''] || 'The overrides are not in force: ' + known.overrides.problem)),
    all.map(g => group(g, g.fields.filter(f => !wanted || (g.name + ' ' + f.label + ' ' + f.spec[1]).toLowerCase().includes(wanted)), wanted)),
  ];
}

function group(g, fields, searched) {
  if (!fields.length) return null;
  const different = g.fields.filter(overridden).length; // and what follows from them
  return h('details', { class: 'card', key: g.name + (searched ? '?' : ''), opened: searched || different > 0 },
    h('summary', {}, h('h2', {}, g.name), different > 0 && h('span', { class: 'badge warn' }, different + ' not as in the file')),
    fields.map(field));
}

function field(f) {
  const [kind, doc, standard, least, most, options] = f.spec;
  const at_ = pointer(f.path), id = 'f' + at_, value = known.edits[at_] ?? shown(f.value ?? standard);
  const differs = difference(f);
  const set = text => {
    known.edits[at_] = text;
    if (text === shown(f.value ?? standard)) delete known.edits[at_];
    delete known.wrong[at_];
    draw();
  };
  const attributes = { id, value, 'aria-describedby': id + '-doc', 'aria-invalid': known.wrong[at_] ? 'true' : null };
  const choices = kind === 'boolean' ? ['true', 'false'] : options;
  const range = least != null && most != null ? least + ' to ' + most : least != null ? 'at least ' + least : most != null ? 'at most ' + most : '';
  return h('div', { key: at_, class: 'field' + (differs ? ' differs' : '') + (known.edits[at_] !== undefined ? ' edited' : '') },
    h('label', { for: id }, f.label, differs && h('span', { class: 'mark' }, 'file: ' + (shown(differs.file) || 'not set') + (overridden(f) ? '' : ', follows'))),
    h('div', { class: 'entry' },
      choices ? h('select', { ...attributes, onchange: e => set(e.target.value) }, (choices.includes(value) ? choices : [value, ...choices]).map(c => h('option', { value: c, selected: c === value }, c || '–'))) :
        h('input', { ...attributes, inputmode: kind === 'number' || kind === 'integer' ? 'decimal' : null, autocomplete: 'off', spellcheck: 'false',
          oninput: e => set(e.target.value) }),
      overridden(f) && h('button', { 'aria-label': 'Reset ' + f.names.join(' '), onclick: () => reset(f) }, 'Reset')),
    h('p', { id: id + '-doc', class: 'note' }, known.wrong[at_] && h('strong', { class: 'error' }, known.wrong[at_] + ' '), doc,
      range && ' Range: ' + range + '.', standard != null && standard !== '' && h('span', {}, ' Default: ' + standard + '.')));
}

function reset(f) {
  delete known.edits[pointer(f.path)];
  change_('overrides?path=' + encodeURIComponent(pointer(f.path)), { method: 'DELETE' }, f.names.join(' ') + ' is as the file says.');
}

async function apply(edited) {
  known.wrong = {};
  const patch = patchOf(edited, f => typed(known.edits[pointer(f.path)], f.spec));
  const answer = await change_('overrides', { method: 'PATCH', body: patch }, edited.length === 1 ? '1 setting changed.' : edited.length + ' settings changed.');
  if (!answer) return;
  if (answer.status < 300) {
    edited.forEach(f => delete known.edits[pointer(f.path)]);
  } else {
    blame(answer, edited);
  }
  draw();
}

// blame puts each error at the field that it is about, and what is about none above them all. A path is a pointer or as the log has it: limits[0].quantity.
function blame(answer, fields) {
  const same = path => String(path ?? '').split(/[/.[\]]+/).filter(Boolean).join('/');
  for (const error of answer.body?.errors || [{ message: problem(answer) }]) {
    const f = fields.find(f => [f.path, f.names].some(path => path.join('/') === same(error.path)));
    const where = f ? pointer(f.path) : '';
    const text = f ? error.message : [error.path, error.message].filter(Boolean).join(': ');
    known.wrong[where] = known.wrong[where] ? known.wrong[where] + ' ' + text : text;
  }
}

function copy(changed, edited) {
  const fields = [...new Set([...changed, ...edited])];
  const text = fields.length ? yaml(inFile(patchOf(fields, f => known.edits[pointer(f.path)] === undefined ? f.value : typed(known.edits[pointer(f.path)], f.spec)))).trim() :
    yaml(known.config.config || known.config).trim();
  inquire({ title: fields.length ? 'What differs from the file' : 'The configuration in force', fields: [{ tag: 'textarea', label: 'YAML', rows: 14, readOnly: true, value: text }],
    action: 'Copy', then: () => { navigator.clipboard?.writeText(text).then(() => say('Copied.'), () => say('Select and copy it by hand.', true)); } });
}
