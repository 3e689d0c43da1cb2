// Whom limits hold back, and what was refused lately.

function subjects() {
  const limits = (known.status?.limits || []).filter(l => !isOff({ state: l.mode }));
  if (!limits.length) return h('p', { class: 'empty' }, known.status ? 'No limit is on.' : 'Asking…');
  const chosen = limits.find(l => l.name === known.limit) || limits[0];
  const told = known.subjects?.limit === chosen.name ? known.subjects : null;
  const list = told && [...told.subjects, ...(told.mostRefused || []).filter(s => !told.subjects.some(o => o.subject === s.subject))];
  const most = Math.max(...(list || []).map(s => s.used), 0) || 1;
  return [
    h('section', { class: 'card' },
      h('div', { class: 'row' }, h('h2', {}, 'Heaviest subjects'),
        h('label', { class: 'inline' }, 'of limit', h('select', { value: chosen.name, onchange: e => { known.limit = e.target.value; known.found = null; refresh(); } },
          limits.map(l => h('option', { value: l.name, selected: l === chosen }, l.name)))),
        told?.halvedEverySeconds && h('small', {}, 'Use and refusals lately: they weigh half after ' + duration(told.halvedEverySeconds))),
      known.failed.subjects && h('p', { class: 'error' }, known.failed.subjects),
      !list ? h('p', { class: 'empty' }, 'Asking…') : !list.length ? h('p', { class: 'empty' }, 'Nobody has used this limit lately.') :
        table('Heaviest subjects of ' + chosen.name, ['Subject', 'Used', '!Refused', 'Last refusal', 'Actions'], list.map(s => [h('code', {}, s.subject),
          [meter(s.used, most, 'used by ' + s.subject), ' ', amount(chosen, s.used)], number(s.refused),
          s.lastRefusal ? [words(s.lastRefusal.reason), ' ', h('small', {}, ago(s.lastRefusal.time))] : '–', actions(chosen, s.subject)]))),
    balance(chosen),
  ];
}

// actions are the buttons of a subject.
function actions(limit, subject) {
  const path = 'limits/' + encodeURIComponent(limit.name) + '/subjects/' + encodeURIComponent(subject);
  return h('span', { class: 'actions' },
    h('button', { 'aria-label': 'Unblock ' + subject, onclick: () => change_(path, { method: 'POST', body: { reset: true } }, subject + ' may go on at once.').then(recheck) }, 'Unblock'),
    h('button', { 'aria-label': 'Grant more to ' + subject, onclick: () => grant(limit, subject, path) }, 'Grant…'));
}

// balance looks up how one subject stands, also one that is in no list.
function balance(limit) {
  const f = known.found;
  return h('section', { class: 'card' },
    h('form', { class: 'row', onsubmit: e => { e.preventDefault(); lookUp(limit, new FormData(e.target).get('subject').trim()); } },
      h('h2', {}, 'Balance'), h('label', { class: 'inline grow' }, h('span', { class: 'hidden' }, 'Subject'),
        h('input', { name: 'subject', required: true, autocomplete: 'off', spellcheck: 'false', placeholder: [].concat(limit.per || []).map(per => per + '=…').join(' ') })),
      h('button', {}, 'Look up')),
    f?.error && h('p', { class: 'error' }, f.error),
    f?.limit === limit.name && table('Balance of ' + f.subject, ['Subject', '!Left', '!Reserved', '!Used', '!Granted', '!Full in', 'Actions'], [[h('code', {}, f.subject),
      amount(limit, f.remaining), amount(limit, f.reserved), amount(limit, f.used),
      f.granted ? amount(limit, f.granted.grant ?? f.granted.quantity) + ' for ' + duration(f.granted.endsInSeconds) : '–', duration(f.resetsInSeconds), actions(limit, f.subject)]]));
}

async function lookUp(limit, subject) {
  try {
    const answer = await ask('limits/' + encodeURIComponent(limit.name) + '?subject=' + encodeURIComponent(subject));
    known.found = answer.status === 200 ? answer.body : { error: problem(answer) };
  } catch { known.found = { error: 'No answer.' }; }
  draw();
}

// recheck shows the balance that an action has left.
function recheck(answer) {
  if (answer?.status === 200 && answer.body?.subject) { known.found = answer.body; draw(); }
}

function grant(limit, subject, path) {
  inquire({
    title: 'Grant to ' + subject, text: 'On top of what ' + limit.name + ' allows, and only for a while.', action: 'Grant',
    fields: [{ name: 'grant', label: 'How much (' + unitOf(limit) + ')', type: 'number', min: limit.unit === 'usd' ? 0 : 1, step: 'any', required: true },
      { name: 'for', label: 'For how long', value: '1h', pattern: '([0-9.]+(ms|s|m|h))+', required: true }],
    then: v => { change_(path, { method: 'POST', body: { grant: Number(v.grant), for: v.for } }, 'Granted ' + amount(limit, +v.grant) + ' to ' + subject + ' for ' + v.for + '.').then(recheck); },
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
