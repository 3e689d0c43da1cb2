// Whom limits hold back, and what was refused lately.

function subjects() {
  const limits = known.status?.limits || [];
  if (!limits.length) return h('p', { class: 'empty' }, 'No limits are configured.');
  const chosen = limits.find(l => l.name === known.limit) || limits[0];
  const list = known.subjects?.limit === chosen.name ? known.subjects.subjects : null;
  return h('section', { class: 'card' },
    h('div', { class: 'row' }, h('h2', {}, 'Heaviest subjects'),
      h('label', { class: 'inline' }, 'of limit', h('select', { value: chosen.name, onchange: e => { known.limit = e.target.value; refresh(); } },
        limits.map(l => h('option', { value: l.name, selected: l === chosen }, l.name))))),
    known.failed.subjects && h('p', { class: 'error' }, known.failed.subjects),
    !list ? h('p', { class: 'empty' }, 'Asking…') : !list.length ? h('p', { class: 'empty' }, 'Nobody has used this limit yet.') :
      table('Heaviest subjects of ' + chosen.name, ['Subject', 'Used', '!Refused', 'Last refusal', 'Actions'], list.map(s => subject(chosen, s))));
}

function subject(limit, s) {
  const quantity = s.quantity ?? limit.quantity;
  const path = 'limits/' + encodeURIComponent(limit.name) + '/subjects/' + encodeURIComponent(s.subject);
  return [h('code', {}, s.subject),
    [meter(s.used, quantity, 'used by ' + s.subject, s.used >= quantity ? 'bad' : s.used > quantity * 0.8 ? 'warn' : 'ok'), ' ', number(s.used),
      h('small', {}, ' of ' + number(quantity))],
    number(s.refused),
    s.lastReason ? [words(s.lastReason), ' ', s.lastTime && h('small', {}, ago(s.lastTime))] : '–',
    h('span', { class: 'actions' },
      h('button', { 'aria-label': 'Unblock ' + s.subject, onclick: () => change_(path, { method: 'POST', body: { reset: true } }, s.subject + ' may go on at once.') }, 'Unblock'),
      h('button', { 'aria-label': 'Grant more to ' + s.subject, onclick: () => grant(limit, s.subject, path) }, 'Grant…'))];
}

function grant(limit, subject, path) {
  inquire({
    title: 'Grant to ' + subject, text: 'On top of what ' + limit.name + ' allows, and only for a while.', action: 'Grant',
    fields: [{ name: 'grant', label: 'How much (' + unitOf(limit) + ')', type: 'number', min: 1, step: 'any', required: true },
      { name: 'for', label: 'For how long', value: '1h', pattern: '([0-9.]+(ms|s|m|h))+', required: true }],
    then: v => { change_(path, { method: 'POST', body: { grant: Number(v.grant), for: v.for } }, 'Granted ' + number(+v.grant) + ' to ' + subject + ' for ' + v.for + '.'); },
  });
}

function refusals() {
  const all = known.decisions?.decisions;
  const wanted = known.search.toLowerCase();
  const found = (all || []).filter(d => !wanted || Object.values(d).join(' ').toLowerCase().includes(wanted));
  return h('section', { class: 'card' },
    h('div', { class: 'row' }, h('h2', {}, 'Latest refusals'), all && h('small', {}, found.length + ' of ' + all.length),
      h('label', { class: 'inline grow' }, h('span', { class: 'hidden' }, 'Search refusals'),
        h('input', { type: 'search', placeholder: 'Search subject, gate, reason, model…', value: known.search, oninput: e => { known.search = e.target.value; draw(); } }))),
    known.failed.decisions && h('p', { class: 'error' }, known.failed.decisions),
    !all ? h('p', { class: 'empty' }, 'Asking…') : !found.length ? h('p', { class: 'empty' }, wanted ? 'None of them has this.' : 'Nothing was refused lately.') :
      table('Latest refusals', ['When', 'Subject', 'Why', 'Model', 'Priority', '!Retry after'], found.map(d => [
        ago(d.time), h('code', {}, d.subject || '–'),
        [badge(d.decision), ' ', d.gate, d.reason && ': ' + words(d.reason), d.limit && h('small', {}, ' of ' + d.limit)],
        d.model || '–', words(d.priority) || '–', d.retryAfterSeconds ? duration(d.retryAfterSeconds) : '–'])));
}
