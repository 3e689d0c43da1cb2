// Small charts, of what the page has seen since it was opened, a point a second: the last minute at first, then up to five.

const kept = 300;
const span = values => Math.max(60, values.length);
const place = (values, i) => (100 - (values.length - 1 - i) * 100 / (span(values) - 1)).toFixed(2);

// spark is a line without axes.
function spark(values, label) {
  const top = Math.max(...values, 1e-9);
  return h('svg', { class: 'spark', viewBox: '0 0 100 24', preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    h('path', { class: 'area', d: line(values, top, 24) + `V24H${place(values, 0)}Z` }),
    h('path', { class: 'line', d: line(values, top, 24) }));
}

function line(values, top, height) {
  return values.map((v, i) => (i ? 'L' : 'M') + place(values, i) + ' ' +
    (height - Math.min(1, Math.max(0, v || 0) / top) * (height - 2)).toFixed(1)).join('') || 'M0 0';
}

// round is the next larger number that reads well on an axis.
function round(n) {
  const size = 10 ** Math.floor(Math.log10(Math.max(n, 1e-3)));
  return [1, 2, 5, 10].map(k => k * size).find(k => k >= n) || 1;
}

// stacked is a chart of series that add up, from the bottom: [{name, class, values}].
function stacked(series, unit, label) {
  const length = Math.max(...series.map(s => s.values.length));
  const sums = Array(length).fill(0);
  const tops = series.map(s => s.values.map((v, i) => sums[i] += v));
  const top = round(Math.max(...sums, 1));
  const areas = tops.map((values, i) => h('path', { class: 'fill ' + series[i].class,
    d: length ? line(values, top, 120) + `V120H${place(values, 0)}Z` : 'M0 0' })).reverse();
  return h('figure', { class: 'chart' },
    h('div', { class: 'plot' },
      h('span', { class: 'tick', style: { top: '0' } }, number(top) + ' ' + unit),
      h('span', { class: 'tick', style: { top: '50%' } }, number(top / 2)),
      h('svg', { viewBox: '0 0 100 120', preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
        h('path', { class: 'grid', d: 'M0 2H100M0 61H100M0 120H100' }), areas)),
    h('div', { class: 'axis', 'aria-hidden': 'true' }, h('span', {}, duration(span(sums)) + ' ago'), h('span', {}, 'now')));
}

// legend names the series, with their latest values.
const legend = series => h('ul', { class: 'legend' }, series.map(s =>
  h('li', {}, h('i', { class: 'dot ' + s.class }), s.name, h('b', {}, number(s.values.at(-1) ?? 0)))));

// meter is a bar from 0 to top, with a mark where the threshold is.
function meter(value, top, label, level, mark) {
  const share = top > 0 ? Math.min(1, Math.max(0, (value || 0) / top)) : 0;
  return h('span', { class: 'meter ' + (level || ''), role: 'meter', 'aria-label': label, 'aria-valuenow': +(share * 100).toFixed(1),
    'aria-valuemin': 0, 'aria-valuemax': 100 },
    h('i', { style: { width: share * 100 + '%' } }),
    mark > 0 && mark < top && h('b', { style: { left: mark / top * 100 + '%' } }));
}
