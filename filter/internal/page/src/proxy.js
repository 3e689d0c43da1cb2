// What the page knows, and how it asks the proxy. All of it lives in memory, but the token, which the browser keeps until the tab is
// closed, and the choice of theme.

const known = {
  status: null,       // the latest snapshot
  subjects: null, decisions: null, found: null, config: null, overrides: null,
  failed: {},         // by what was asked for: what went wrong
  view: 'overview', limit: '', search: '', filter: '',
  edits: {},          // by pointer: what was typed and not applied
  wrong: {},          // by pointer: what the proxy says is wrong with it
  contact: performance.now(), at: 0, settled: 0, // of the latest answer, the latest snapshot, and the latest change of overrides
};

const history_ = { rate: [], passed: [], shadow: [], refused: [], left: [], share: [], tokens: [], waiting: [], inFlight: [], ttft: [], itl: [] };

function note(series, value) {
  const values = history_[series] ||= [];
  values.push(value || 0);
  if (values.length > kept) values.shift();
}

const stored = (store, name) => { try { return store[name] || ''; } catch { return ''; } };
const keep = (store, name, value) => { try { store[name] = value; } catch { /* only in this page, then */ } };
const token = { value: stored(sessionStorage, 'spillway-token') };

function setToken(value) {
  token.value = value;
  keep(sessionStorage, 'spillway-token', value);
}

// ask sends a request and returns {status, body}; a body that is no JSON is null. It fails where nobody answers.
async function ask(path, { method = 'GET', body, headers = {} } = {}) {
  if (token.value) headers.authorization = 'Bearer ' + token.value;
  if (body !== undefined) headers['content-type'] = 'application/json';
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: 'no-store', signal: AbortSignal.timeout(4000) });
  known.contact = performance.now();
  const text = await answer.text();
  let parsed = null;
  try { parsed = text && JSON.parse(text); } catch { /* no JSON */ }
  return { status: answer.status, etag: answer.headers.get('etag'), body: parsed };
}

// problem puts a refusal into words.
function problem(answer) {
  const errors = answer.body?.errors;
  if (errors?.length) return errors.map(e => [e.path, e.message].filter(Boolean).join(': ')).join('; ');
  return answer.body?.error?.message || answer.body?.message || answer.body?.error ||
    ({ 401: 'A token is needed.', 403: 'The token is not one that the proxy knows.', 404: 'The proxy does not have this.' })[answer.status] ||
    'The proxy answered ' + answer.status + '.';
}

// fetchInto asks for what a view shows. What went wrong is shown in its place. False: what was told is old.
async function fetchInto(name, path) {
  try {
    const answer = await ask(path);
    if (answer.status !== 200) throw Error(problem(answer));
    delete known.failed[name];
    if (name === 'overrides' && isOld(answer.body)) return false;
    known[name] = answer.body;
  } catch (e) {
    known.failed[name] = e.name === 'TimeoutError' ? 'No answer.' : e.message;
  }
  draw();
}

let etag = '';
async function fetchStatus() {
  const answer = await ask('status', { headers: etag ? { 'if-none-match': etag } : {} });
  if (answer.status === 304) return;
  if (answer.status !== 200) { known.failed.status = problem(answer); return; }
  delete known.failed.status;
  etag = answer.etag || '';
  remember(answer.body);
  known.status = answer.body;
  known.at = performance.now();
}

// What becomes of requests, as the page sums it up.
const outcomes = {
  passed: ['ALLOWED', 'QUEUED', 'FALLBACK', 'FAULT'], shadow: ['SHADOW'], refused: ['REJECTED', 'OPEN', 'HALF_OPEN'], left: ['CANCELLED'],
};
const total = (counts, names) => names.reduce((sum, name) => sum + (counts?.[name] ?? counts?.[name.toLowerCase()] ?? 0), 0);

// recent are the last snapshots, with the times at which they came: {at, status}. A rate is that between the first and the last of them, since each
// is made by the worker that was asked, of what the others told it within the last second. So there is none before they are that many seconds apart:
// it would be up to twice as high as it is.
const recent = [];
const rated = 5, apart = 2.5;

// remember adds what a snapshot tells to the charts.
function remember(now) {
  const upstreams = now.upstreams || [];
  note('waiting', upstreams.reduce((sum, u) => sum + (u.queue?.value || 0), 0));
  note('inFlight', upstreams.reduce((sum, u) => sum + (u.queue?.inFlight || 0), 0));
  for (const signal of ['ttft', 'itl']) { // of the model that is slowest
    note(signal, Math.max(0, ...upstreams.flatMap(u => u.latency?.parts || []).filter(p => p.name?.endsWith(signal)).map(p => p.value || 0)));
  }
  for (const u of upstreams) note('rate ' + u.name, u.retreat?.effectiveRpm);
  recent.push({ at: performance.now(), status: now });
  if (recent.length > rated) recent.shift();
  const before = recent[0].status;
  const seconds = (recent.at(-1).at - recent[0].at) / 1000;
  if (seconds < apart) return;
  const rate = (was, is) => Math.max(0, is - was) / seconds; // counts begin anew with the proxy
  const rates = {};
  for (const name in outcomes) note(name, rates[name] = rate(total(before.requests, outcomes[name]), total(now.requests, outcomes[name])));
  const all = rates.passed + rates.shadow + rates.refused + rates.left;
  note('rate', all);
  note('share', all ? rates.refused / all : 0);
  note('tokens', rate(before.tokens?.completion || 0, now.tokens?.completion || 0));
}

// change_ sends what changes something, says how it went, and returns the answer; null if there is none. Where a token is missing or wrong it asks for
// one, as often as it takes.
async function change_(path, options, done) {
  for (let wrong; ;) {
    if (!token.value && !await signIn(wrong)) return null;
    let answer;
    try { answer = await ask(path, { ...options }); } catch { say('No answer: nothing may have changed.', true); return null; }
    if (answer.status === 401 || answer.status === 403) {
      setToken('');
      wrong = problem(answer);
      continue;
    }
    say(answer.status < 300 ? done : problem(answer), answer.status >= 300);
    if (answer.status < 300 && path.startsWith('overrides')) settle(answer.body);
    refresh();
    return answer;
  }
}

// settle shows what is overridden after a change, which the worker that is asked next may not know for a moment. What isn't overridden any more is as
// the file has it.
function settle(told) {
  for (const { path, file } of known.overrides?.differences || []) {
    const keys = path.split('/').slice(1).map(key => key.replaceAll('~1', '/').replaceAll('~0', '~'));
    const into = at(known.config?.config || known.config, keys.slice(0, -1));
    if (into) into[keys.at(-1)] = file;
  }
  known.overrides = told;
  known.settled = performance.now();
}

// isOld says that overrides were told by a worker that doesn't know of the latest change yet.
const isOld = told => told.revision < known.overrides?.revision && performance.now() - known.settled < 5000;

// say shows a line at the foot of the page, for some seconds.
let silence;
function say(text, bad) {
  const said = byId('said');
  said.textContent = text;
  said.className = bad ? 'on bad' : 'on';
  clearTimeout(silence);
  silence = setTimeout(() => { said.className = ''; }, 6000);
}
