// How the proxy is doing: tiles, what becomes of requests, and each upstream with its queue, its budget and its gates.

const priorities = ['urgent', 'high', 'normal', 'low'];
const gates = [['retreat', 'Retreat'], ['latency', 'Latency'], ['throttle', 'Throttle'], ['breaker', 'Breaker'], ['pressure', 'Pressure']];

// since is how many seconds ago the snapshot was taken, for what counts down between two.
const since = () => (performance.now() - known.at) / 1000;

function overview() {
  const s = known.status;
  if (!s) return h('p', { class: 'empty' }, known.failed.status || 'Waiting for the first snapshot…');
  return [tiles(s), traffic(), (s.upstreams || []).map(upstream), limits(s), instances(s.pressure)];
}

function tile(name, value, unit, series, level, why) {
  return h('div', { class: 'tile ' + (level || '') }, h('h2', {}, name), h('p', {}, value, unit && h('small', {}, unit)),
    why ? h('span', { class: 'note' }, why) : spark(history_[series], name));
}

function tiles(s) {
  const unknown = (s.upstreams || []).every(u => isOff(u.latency)) && 'Known where a latency gate is on.';
  const last = series => history_[series].at(-1);
  const split = text => [text.split(' ')[0], text.split(' ')[1] || ''];
  const share = last('share');
  return h('section', { class: 'tiles', 'aria-label': 'At a glance' },
    tile('Requests', number(last('rate')), '/s', 'rate'),
    tile('Refused', ...split(percent(share)), 'share', share > 0.2 ? 'bad' : share > 0.02 ? 'warn' : ''),
    tile('Output tokens', number(last('tokens')), '/s', 'tokens'),
    tile('Waiting', number(last('waiting')), '', 'waiting'),
    tile('In flight', number(last('inFlight')), '', 'inFlight'),
    tile('First token', ...split(milliseconds(last('ttft') || null)), 'ttft', '', unknown),
    tile('Between tokens', ...split(milliseconds(last('itl') || null)), 'itl', '', unknown));
}

function traffic() {
  const series = [['passed', 'Passed'], ['shadow', 'Shadow'], ['left', 'Left'], ['refused', 'Refused']]
    .map(([values, name]) => ({ name, class: values, values: history_[values] }))
    .filter(s => s.class === 'passed' || s.class === 'refused' || s.values.some(Boolean));
  return h('section', { class: 'card' },
    h('div', { class: 'row' }, h('h2', {}, 'Requests a second'), legend(series)),
    stacked(series, '/s', 'Requests a second by what became of them'));
}

function upstream(u) {
  return h('section', { class: 'card', key: u.name, 'aria-label': 'Upstream ' + u.name },
    h('div', { class: 'row' }, h('h2', {}, u.name), u.drained && badge('drained'),
      h('div', { class: 'row end' },
        !isOff(u.retreat) && h('button', { onclick: () => act(u, 'retreat/reset', 'Retreat of ' + u.name + ' begins anew.') }, 'Reset retreat'),
        !isOff(u.breaker) && h('button', { onclick: () => act(u, 'breaker/reset', 'Breaker of ' + u.name + ' is closed.') }, 'Reset breaker'),
        u.drained ? h('button', { onclick: () => act(u, 'resume', u.name + ' takes requests again.') }, 'Resume') :
          h('button', { onclick: () => inquire({ title: 'Drain ' + u.name + '?', danger: true, action: 'Drain',
            text: 'Nothing new is let through, and is answered 503; what runs goes on.', then: () => act(u, 'drain', u.name + ' takes nothing new.') }) }, 'Drain'))),
    h('div', { class: 'columns' }, budget(u), queue(u)), gateTable(u));
}

const act = (u, what, done) => change_('upstreams/' + encodeURIComponent(u.name) + '/' + what, { method: 'POST' }, done);

const isOff = gate => !gate || /^off$/i.test(gate.state);

// budget shows what is left of requests and of tokens, and how the retreat has changed what is let through.
function budget(u) {
  if (isOff(u.budget)) return null;
  const rates = history_['rate ' + u.name] || [];
  return h('div', { class: 'block' }, ['requests', 'tokens'].filter(unit => u.budget[unit + 'Burst'] > 0).map(unit => {
    const left = u.budget[unit + 'Left'], most = u.budget[unit + 'Burst'], share = left / most;
    return h('div', { key: unit }, h('h3', {}, 'Budget of ' + unit),
      h('p', { class: 'figure' }, number(left), h('small', {}, ' of ' + number(most) + ' left')),
      meter(left, most, 'Budget of ' + unit + ' of ' + u.name, share < 0.05 ? 'bad' : share < 0.2 ? 'warn' : 'ok'));
  }), rates.some(Boolean) && [h('h3', {}, 'Rate allowed: ' + number(rates.at(-1)) + ' requests'), spark(rates, 'Rate allowed to ' + u.name)]);
}

function queue(u) {
  const q = u.queue;
  if (isOff(q)) return null;
  const depths = priorities.map(p => q[p] || 0);
  const top = Math.max(...depths, 5);
  return h('div', { class: 'block' }, h('h3', {}, 'Queue'),
    h('p', { class: 'figure' }, number(q.value), h('small', {}, q.threshold > 0 ? ' of ' + number(q.threshold) + ' places' : ' wait'), q.bytes > 1e6 && h('small', {}, ', ' + number(q.bytes / 1e6) + ' MB')),
    q.slots > 0 && h('p', { class: 'note' }, number(q.inFlight), ' of ', number(q.slots), ' slots in use', q.why && [', learned (', q.why, ')']),
    q.revoked > 0 && h('p', { class: 'note' }, number(q.revoked), q.revoked === 1 ? ' stream' : ' streams', ' ended for urgent requests', q.lastTrigger && [', the latest ', ago(q.lastTrigger.time)]),
    h('ul', { class: 'bars' }, priorities.map((p, i) =>
      h('li', {}, h('b', {}, number(depths[i])), h('i', { class: p, style: { height: (depths[i] / top * 100).toFixed(1) + '%' } }), h('span', {}, p)))));
}

const badge = state => h('span', { class: 'badge ' + severity(state) }, words(state) || 'unknown');

// gateTable has a line for each gate that is on, and for each of its parts: signals, models.
function gateTable(u) {
  const on = gates.filter(([key]) => !isOff(u[key]));
  const off = gates.filter(([key]) => isOff(u[key])).map(([, name]) => name.toLowerCase());
  const line = (gate, name, key, part) => {
    const left = gate.recoversInSeconds - since();
    return [part ? h('span', { class: 'part' }, name) : h('b', {}, name), badge(gate.state), gateValue(gate.value, key, gate), gateValue(gate.threshold, key, gate),
      gate.lastTrigger ? [words(gate.lastTrigger.reason), ' ', h('small', {}, ago(gate.lastTrigger.time))] : '–',
      left > 0 ? 'in ' + duration(Math.ceil(left)) : '–'];
  };
  return [
    on.length > 0 && table('Gates of ' + u.name, ['Gate', 'State', '!Value', '!Threshold', 'Last trigger', '!Recovers'],
      on.flatMap(([key, name]) => [line(u[key], name, key), ...(u[key].parts || []).map(part => line(part, part.name.trim() || 'all models', key, true))])),
    off.length > 0 && h('p', { class: 'note' }, 'Off: ' + off.join(', ') + '.'),
  ];
}

// gateValue writes a gate's measure in its unit.
function gateValue(value, key, gate) {
  if (value == null) return '–';
  if (key === 'latency' || /p99/.test(gate.name)) return milliseconds(value);
  return /qps/.test(gate.name) || Math.max(value, gate.threshold || 0) > 1 ? number(value) : percent(value);
}

// unitOf is what a limit counts: completionTokens. amount writes a number of that; dollars with their cents, and exactly where they are few.
const unitOf = limit => limit.unit === 'usd' ? 'dollars' : words(limit.unit?.replace(/[A-Z]/g, c => ' ' + c));
const amount = (limit, n) => limit.unit !== 'usd' || n == null ? number(n) :
  (n < 0 ? '−$' : '$') + Math.abs(n).toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: Math.abs(n) < 1 ? 9 : 2 });

// inTime is a limit's window, and when its quantity is there again.
const inTime = l => (l.window ? ' per ' + l.window : l.windowSeconds ? ' in ' + duration(l.windowSeconds) : '') +
  (l.windowEnds ? ', again in ' + duration(Math.max(1, (Date.parse(l.windowEnds) - Date.now()) / 1000)) : '');

function limits(s) {
  if (!s.limits?.length) return null;
  return h('section', { class: 'card' }, h('h2', {}, 'Limits'),
    table('Limits', ['Limit', 'Per', 'Allows', 'Mode'], s.limits.map(l => [
      h('button', { class: 'link', onclick: () => { known.limit = l.name; show('subjects'); } }, l.name), [].concat(l.per || 'everybody').join(', '),
      [amount(l, l.quantity), h('small', {}, (l.unit === 'usd' ? '' : ' ' + unitOf(l)) + inTime(l))], badge(l.mode)])),
    s.unpriced?.length && h('p', { class: 'unpriced' }, 'Asked for lately, without a price: ', s.unpriced.map((m, i) => [i ? ', ' : '', h('code', {}, m.model), ' (' + number(m.requests) + ')'])));
}

function instances(p) {
  if (!p?.servers?.length) return null;
  const share = value => value == null ? '–' : [meter(value, 1, 'used', value > 0.9 ? 'bad' : value > 0.75 ? 'warn' : 'ok'), ' ', percent(value)];
  const more = p.instances - p.servers.length;
  return h('section', { class: 'card' }, h('div', { class: 'row' }, h('h2', {}, 'Pressure by instance'), h('small', {}, 'fetched ' + duration(p.ageSeconds) + ' ago')),
    table('Pressure by instance', ['Instance', 'KV cache', 'GPU memory', '!Prefill tokens', '!Measured'], p.servers.map((i, n) =>
      ['Instance ' + (n + 1), share(i.activeDecodeBlocks), share(i.gpuMemory), number(i.activePrefillTokens), duration(i.ageSeconds + p.ageSeconds) + ' ago'])),
    more > 0 && h('p', { class: 'note' }, 'And ' + more + ' more.'));
}

// table makes one whose cells carry their heads' names, for narrow screens, where each row is a card. "!" before a head: numbers.
function table(label, heads, rows) {
  const names = heads.map(head => head.replace('!', ''));
  return h('div', { class: 'table' }, h('table', { role: 'table', 'aria-label': label },
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, heads.map((head, i) => h('th', { role: 'columnheader', scope: 'col', class: head[0] === '!' ? 'n' : '' }, names[i])))),
    h('tbody', { role: 'rowgroup' }, rows.map(cells => h('tr', { role: 'row' },
      cells.map((cell, i) => h('td', { role: 'cell', 'data-head': names[i], class: (heads[i][0] === '!' ? 'n' : '') + (cell === '–' ? ' none' : '') }, h('span', {}, cell))))))));
}
