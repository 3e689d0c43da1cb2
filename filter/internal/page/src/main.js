// The frame: views, theme, and the clock by which the proxy is asked.

const views = { overview: ['Overview', overview], subjects: ['Subjects', subjects], refusals: ['Refusals', refusals], tuning: ['Tuning', tuning] };

function show(view) {
  known.view = views[view] ? view : 'overview';
  if (location.hash.slice(1) !== known.view) history.replaceState(null, '', '#' + known.view);
  refresh();
}

function draw() {
  const s = known.status;
  render(byId('head'), [
    h('h1', {}, 'Spillway'),
    s && h('span', { class: 'badge ' + (s.mode === 'enforce' ? 'ok' : 'warn') }, s.mode),
    s && h('span', { class: 'note' }, [s.version, duration(s.uptimeSeconds) + ' up', s.workers + (s.workers === 1 ? ' worker' : ' workers')].filter(Boolean).join(' · ')),
    h('div', { class: 'row end' },
      h('button', { onclick: nextTheme }, 'Theme: ' + (theme || 'system')),
      h('button', { onclick: () => token.value ? signOut() : signIn() }, token.value ? 'Sign out' : 'Sign in')),
  ].filter(Boolean));
  render(byId('tabs'), Object.entries(views).map(([name, [title]]) => h('button', {
    id: 'tab-' + name, role: 'tab', 'aria-selected': String(name === known.view), 'aria-controls': 'view', tabindex: name === known.view ? 0 : -1,
    onclick: () => show(name), onkeydown: moveTab }, title)));
  byId('view').setAttribute('aria-labelledby', 'tab-' + known.view);
  render(byId('view'), [h('div', { key: known.view }, views[known.view][1]())]);
}

function moveTab(event) {
  const names = Object.keys(views);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  show(names[(names.indexOf(known.view) + step + names.length) % names.length]);
  byId('tab-' + known.view).focus();
}

let theme = stored(localStorage, 'spillway-theme');
function nextTheme() {
  theme = { '': 'dark', dark: 'light', light: '' }[theme];
  keep(localStorage, 'spillway-theme', theme);
  document.documentElement.dataset.theme = theme;
  draw();
}

// What a view asks for, beside the status, and how often.
const asked = {
  subjects: [5000, () => fetchInto('subjects', 'subjects?top=20&limit=' + encodeURIComponent(known.limit || known.status?.limits?.[0]?.name || ''))],
  refusals: [2000, () => fetchInto('decisions', 'decisions?last=100')],
  tuning: [5000, async () => { if (await fetchInto('overrides', 'config?overrides') !== false) await fetchInto('config', 'config'); }],
};

let timer, slow;
function refresh() {
  draw();
  clearTimeout(slow);
  const [every, fetchView] = asked[known.view] || [];
  if (fetchView && !document.hidden) fetchView().then(() => { clearTimeout(slow); slow = setTimeout(refresh, every); });
}

async function poll() {
  clearTimeout(timer);
  if (document.hidden) return;
  const begun = performance.now();
  try { await fetchStatus(); } catch { /* the mask says so */ }
  draw();
  timer = setTimeout(poll, Math.max(200, 1000 - (performance.now() - begun)));
}

// mask covers the page after five seconds without an answer, until there is one.
function mask() {
  const silent = (performance.now() - known.contact) / 1000;
  const is = byId('mask');
  if (is.hidden === silent > 5) {
    is.hidden = silent <= 5;
    render(is, silent > 5 ? [h('p', {}, h('strong', {}, 'No contact with the proxy'), 'What is below is old. Trying again every second.')] : []);
  }
}

document.documentElement.dataset.theme = theme;
addEventListener('hashchange', () => show(location.hash.slice(1)));
document.addEventListener('visibilitychange', () => { known.contact = performance.now(); poll(); refresh(); });
setInterval(mask, 250);
poll().then(() => show(location.hash.slice(1)));
