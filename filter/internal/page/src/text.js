// How numbers, times and states are written.

// number writes n with three significant digits and a unit: 1.23 M.
function number(n) {
  if (n == null || !isFinite(n)) return '–';
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['k', 1e4]]) {
    if (Math.abs(n) >= size) { const s = unit === 'k' ? 1e3 : size; return trim(n / s) + ' ' + unit; }
  }
  return trim(n);
}

function trim(n) {
  const digits = Math.abs(n) >= 100 || Number.isInteger(n) ? 0 : Math.abs(n) >= 10 ? 1 : 2;
  return n.toLocaleString('en', { maximumFractionDigits: digits });
}

const percent = share => share == null || !isFinite(share) ? '–' : (share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0) + ' %';

// duration writes seconds with the two largest units that they have.
function duration(seconds) {
  if (seconds == null || !isFinite(seconds)) return '–';
  if (seconds < 1) return Math.round(seconds * 1000) + ' ms';
  const parts = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  let rest = Math.round(seconds);
  const words = [];
  for (const [unit, size] of parts) {
    const n = Math.floor(rest / size);
    rest %= size;
    if (n) words.push(n + ' ' + unit);
    else if (words.length) break;
  }
  return words.slice(0, 2).join(' ');
}

const milliseconds = ms => ms == null ? '–' : ms >= 10000 ? trim(ms / 1000) + ' s' : trim(Math.round(ms)) + ' ms';

// ago is the time since a moment in RFC 3339, an element with the whole of it.
function ago(time) {
  const at = Date.parse(time);
  if (!time || isNaN(at)) return '–';
  const seconds = Math.max(0, (Date.now() - at) / 1000);
  return h('time', { datetime: time, title: new Date(at).toLocaleString() }, seconds < 2 ? 'now' : duration(seconds) + ' ago');
}

// words makes a reason readable: half_open_probing.
const words = s => String(s ?? '').replaceAll('_', ' ').toLowerCase();

// severity sorts what a gate can be in by how bad it is.
function severity(state) {
  const s = words(state);
  if (!s || s === 'off') return 'off';
  if (/half|warn|recover|retreat|shadow|drain|probing|near|hold/.test(s)) return 'warn';
  return /open|refus|reject|busy|full|stale|shut|used up|exhaust|alarm|floor/.test(s) ? 'bad' : 'ok';
}

// yaml writes a value of the configuration.
function yaml(value, indent = '') {
  if (Array.isArray(value)) {
    return value.map(item => typeof item === 'object' && item ? '\n' + indent + '- ' + yaml(item, indent + '  ').trimStart() :
      '\n' + indent + '- ' + scalar(item)).join('') || ' []';
  }
  if (typeof value === 'object' && value) {
    return Object.entries(value).map(([key, item]) => '\n' + indent + scalar(key) + ':' +
      (typeof item === 'object' && item ? yaml(item, indent + '  ') : ' ' + scalar(item))).join('') || ' {}';
  }
  return ' ' + scalar(value);
}

// scalar quotes what YAML would take for something else than the string that it is.
function scalar(value) {
  if (typeof value !== 'string') return JSON.stringify(value);
  const plain = /^[A-Za-z_][\w./-]*$/.test(value) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(value);
  return plain || /^\d+(\.\d+)?(ms|s|m|h)$/.test(value) ? value : JSON.stringify(value);
}
