'use strict';
// Asks for /status every five seconds and shows it. Everything that comes from the server is written as text.

const EVERY = 5000;
const $ = (id) => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';

function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// ---- numbers for people

function round(value) {
  return value >= 100 ? Math.round(value).toString() : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function trim(text) {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

function scaled(value, units, factor) {
  let unit = 0;
  while (value >= factor && unit < units.length - 1) {
    value /= factor;
    unit += 1;
  }
  return [trim(round(value)), units[unit]];
}

const count = (value) => (value < 10000 ? trim(round(value)) : scaled(value, ['', 'k', 'M', 'G', 'T'], 1000).join(' '));
const whole = (value) => value.toLocaleString('en');
const bytes = (value) => scaled(value, ['B', 'KiB', 'MiB', 'GiB', 'TiB'], 1024).join(' ');
// Rounded down: all but one of a million is not all.
const percent = (part, all) => (all > 0 ? Math.floor((1000 * part) / all) / 10 + ' %' : '–');

function micros(value) {
  if (value === null || value === undefined) return '–';
  if (value < 1000) return Math.round(value) + ' µs';
  if (value < 1e6) return trim(round(value / 1000)) + ' ms';
  return value < 1e8 ? trim(round(value / 1e6)) + ' s' : span(value / 1e6);
}

function span(seconds) {
  if (seconds < 60) return Math.floor(seconds) + ' s';
  if (seconds < 3600) return Math.floor(seconds / 60) + ' min';
  if (seconds < 86400) return Math.floor(seconds / 3600) + ' h ' + Math.floor((seconds % 3600) / 60) + ' min';
  return Math.floor(seconds / 86400) + ' d ' + Math.floor((seconds % 86400) / 3600) + ' h';
}

const sum = (values) => values.reduce((all, value) => all + value, 0);
const last = (values, size) => values.slice(Math.max(0, values.length - size));

/** A number with its unit in small letters. */
function big(id, text, bad = false) {
  const [, number, unit] = /^(\S+)\s?(.*)$/.exec(text);
  const place = $(id);
  place.replaceChildren(number, ...(unit ? [el('small', {}, unit)] : []));
  place.classList.toggle('bad', bad);
}

// ---- charts

const charts = new Map();

/** The next larger of 1, 2, 5 times a power of ten (or of 1024, for bytes), so that gridlines have round labels. */
function ceiling(value, base) {
  if (value <= 0) return 1;
  let unit = 1;
  while (base === 1024 && value >= unit * 1024) unit *= 1024;
  const power = unit * 10 ** Math.floor(Math.log10(value / unit));
  for (const step of [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]) if (value <= step * power * 1.0001) return step * power;
  return 10 * power;
}

/**
 * Draws series over time. Each has a name, a colour, and values (null: there is none). `stacked`: one upon the other.
 * Times are those of the ends of samples. `scale`: `log` shows as much of small values as of large ones.
 */
function draw(id, chart) {
  const { series, step, now, label, stacked = false, wash = false, base = 10, scale = 'linear' } = chart;
  charts.set(id, () => draw(id, chart));
  const place = $(id);
  const width = Math.max(place.clientWidth, 240);
  const height = place.clientHeight;
  const [left, right, top, bottom] = [58, 4, 8, 22];
  const length = series[0].values.length;
  // A server that has just started shows what it has.
  const shown = [60, 180, 360].find((size) => length <= size) ?? 360;
  // Each series with what lies beneath it, at the last place what lies beneath the next one.
  const floors = [new Array(length).fill(0)];
  const tops = series.map(({ values }) => {
    const beneath = floors.at(-1);
    if (stacked) floors.push(values.map((value, index) => beneath[index] + (value ?? 0)));
    return stacked ? floors.at(-1) : values;
  });
  const present = tops.flat().filter((value) => value !== null);
  const highest = Math.max(0, ...present);
  const logarithmic = scale === 'log' && highest > 0;
  const most = logarithmic ? 10 ** Math.ceil(Math.log10(highest)) : ceiling(highest, base);
  const least = logarithmic ? Math.min(most / 100, 10 ** Math.floor(Math.log10(Math.max(1, Math.min(...present))))) : 0;
  const part = logarithmic ? (value) => Math.log10(Math.max(value, least) / least) / Math.log10(most / least) : (value) => value / most;
  const grid = logarithmic ? decades(least, most) : highest > 0 ? [0, most / 2, most] : [0];
  const x = (index) => left + ((shown - length + index + 1) / shown) * (width - left - right);
  const y = (value) => top + (1 - part(value)) * (height - top - bottom);

  const picture = svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': place.parentElement.querySelector('h2').textContent });
  for (const value of grid) {
    const at = y(value);
    picture.append(svg('line', { class: 'gridline', x1: left, x2: width - right, y1: at, y2: at }));
    const text = svg('text', { x: left - 8, y: at + 4, 'text-anchor': 'end' });
    text.textContent = value === 0 ? '0' : label(value);
    picture.append(text);
  }
  const minutes = (shown * step) / 60;
  for (let tick = 0; tick <= 4; tick += 1) {
    const ago = minutes * (1 - tick / 4);
    const text = svg('text', {
      x: left + (tick / 4) * (width - left - right),
      y: height - 4,
      'text-anchor': tick === 0 ? 'start' : tick === 4 ? 'end' : 'middle',
    });
    text.textContent = ago === 0 ? 'now' : `−${trim(ago.toFixed(1))} min`;
    picture.append(text);
  }
  series.forEach(({ colour }, index) => {
    for (const [from, to] of runs(tops[index])) {
      const points = (values) => {
        const found = [];
        for (let at = from; at <= to; at += 1) found.push(`${x(at).toFixed(1)},${y(values[at]).toFixed(1)}`);
        return found;
      };
      const upper = points(tops[index]);
      if (stacked || wash) {
        const lower = points(floors[stacked ? index : 0]).reverse();
        picture.append(svg('path', { class: `${stacked ? 'area' : 'wash'} c-${colour}`, d: `M${upper.join('L')}L${lower.join('L')}Z` }));
      }
      if (!stacked) {
        // A single sample is a dot, not a line without length.
        picture.append(svg('path', { class: `line s-${colour}`, d: from === to ? `M${upper[0]}h0.1` : `M${upper.join('L')}` }));
      }
    }
  });
  const cursor = svg('line', { class: 'cursor', y1: top, y2: height - bottom, visibility: 'hidden' });
  picture.append(cursor);
  picture.addEventListener('pointermove', (event) => {
    const box = picture.getBoundingClientRect();
    const across = (event.clientX - box.left - left) / (width - left - right);
    const index = Math.round(across * shown - (shown - length) - 1);
    if (index < 0 || index >= length) return hide(cursor);
    cursor.setAttribute('x1', x(index));
    cursor.setAttribute('x2', x(index));
    cursor.setAttribute('visibility', 'visible');
    const time = new Date(now - (length - 1 - index) * step * 1000);
    tip(event, time.toLocaleTimeString(), series.map(({ name, colour, values }) => [name, colour, values[index] === null ? '–' : label(values[index])]));
  });
  picture.addEventListener('pointerleave', () => hide(cursor));
  place.replaceChildren(picture, ...(highest > 0 ? [] : [el('p', { class: 'empty' }, length ? 'nothing in this time' : NO_SAMPLE)]));
}

/** Powers of ten from one to another. */
function decades(least, most) {
  const found = [];
  for (let value = least; value <= most * 1.001; value *= 10) found.push(value);
  return found;
}

/** From and to of what is without gaps. */
function runs(values) {
  const found = [];
  let from = -1;
  values.forEach((value, index) => {
    if (value !== null && from < 0) from = index;
    if (from >= 0 && (value === null || index === values.length - 1)) {
      found.push([from, value === null ? index - 1 : index]);
      from = -1;
    }
  });
  return found;
}

function tip(event, title, rows) {
  const place = $('tip');
  place.replaceChildren(el('b', {}, title));
  for (const [name, colour, value] of rows) {
    place.append(el('div', {}, el('i', { class: `c-${colour}` }), name, el('span', {}, value)));
  }
  place.hidden = false;
  const box = place.getBoundingClientRect();
  const beside = event.clientX + 14 + box.width > window.innerWidth ? event.clientX - 14 - box.width : event.clientX + 14;
  place.style.left = `${Math.max(4, beside)}px`;
  place.style.top = `${Math.max(4, event.clientY - box.height - 10)}px`;
}

function hide(cursor) {
  cursor.setAttribute('visibility', 'hidden');
  $('tip').hidden = true;
}

function legend(id, series) {
  $(id).replaceChildren(...series.map(({ name, colour }) => el('li', {}, el('i', { class: `c-${colour}` }), name)));
}

function spark(values) {
  const most = Math.max(1, ...values);
  const size = 60;
  const picture = svg('svg', { viewBox: '0 0 120 26', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  values.forEach((value, index) => {
    if (value === 0) return;
    const height = Math.max(1.5, (value / most) * 24);
    picture.append(svg('rect', { class: 'c-accent', x: (size - values.length + index) * 2, y: 26 - height, width: 1.5, height }));
  });
  return picture;
}

function bar(part, all) {
  const share = all > 0 ? part / all : 0;
  const picture = svg('svg', { viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  picture.append(svg('rect', { class: 'track', width: 100, height: 6 }), svg('rect', { class: 'c-ok', width: 100 * share, height: 6 }));
  return el('div', { class: 'bar' }, picture, el('span', {}, percent(part, all)));
}

// ---- the parts of the page

// What is told of the last hour while there is none of it yet: not that nothing happened.
const NO_SAMPLE = 'the first sample comes within ten seconds';

function tiles({ history, connections, under_way, evidence }) {
  const { server, step } = history;
  const answered = (values) => values.slice(1);
  const minute = Math.min(6, server.bytes.length) * step || 1;
  const lately = sum(server.statuses.map((values) => sum(last(values, 6))));
  const hour = sum(server.statuses.map(sum));
  big('t-rate', count(lately / minute) + ' /s');
  $('t-rate-sub').textContent = server.bytes.length ? `${whole(hour)} in the last hour` : NO_SAMPLE;
  big('t-bytes', bytes(sum(last(server.bytes, 6)) / minute) + '/s');
  $('t-bytes-sub').textContent = `${bytes(sum(server.bytes))} in the last hour`;
  const newest = (values) => last(values, 6).filter((value) => value !== null);
  const middle = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
  big('t-latency', micros(middle(newest(server.p50))));
  $('t-latency-sub').textContent = `p99 ${micros(middle(newest(server.p99)))}`;
  const errors = sum(server.statuses[5]);
  big('t-errors', whole(errors), errors > 0);
  $('t-errors-sub').textContent = hour ? `${percent(errors, sum(answered(server.statuses).map(sum)))} of the last hour` : 'in the last hour';
  const [ran, reused] = [sum(server.ran), sum(server.reused)];
  big('t-evidence', percent(reused, ran + reused));
  $('t-evidence-sub').textContent = `${whole(evidence.decisions)} kept, ${bytes(evidence.bytes)}`;
  big('t-connections', whole(connections.open));
  $('t-connections-sub').textContent = `${whole(under_way)} ${under_way === 1 ? 'request' : 'requests'} under way`;
}

function diagrams({ history }) {
  const { server, step, now } = history;
  const rate = (values) => values.map((value) => value / step);
  const requests = [
    { name: '2xx', colour: 'ok', values: rate(server.statuses[2]) },
    { name: '3xx', colour: 'info', values: rate(server.statuses[3]) },
    { name: '4xx', colour: 'warn', values: rate(server.statuses[4]) },
    { name: '5xx', colour: 'bad', values: rate(server.statuses[5]) },
    { name: 'none', colour: 'none', values: rate(server.statuses[0]) },
  ];
  legend('l-requests', requests);
  draw('c-requests', { series: requests, step, now, stacked: true, label: count });
  const latency = [
    { name: 'p50', colour: 'accent', values: server.p50 },
    { name: 'p99', colour: 'warn', values: server.p99 },
  ];
  legend('l-latency', latency);
  draw('c-latency', { series: latency, step, now, label: micros, scale: 'log' });
  draw('c-bytes', { series: [{ name: 'sent', colour: 'accent', values: rate(server.bytes) }], step, now, label: (value) => bytes(value) + '/s', base: 1024, wash: true });
  const policy = [
    { name: 'reused', colour: 'ok', values: rate(server.reused) },
    { name: 'run', colour: 'accent', values: rate(server.ran) },
    { name: 'failed', colour: 'bad', values: rate(server.failed) },
  ];
  legend('l-policy', policy);
  // Failed runs are runs, too.
  policy[1].values = policy[1].values.map((value, index) => Math.max(0, value - policy[2].values[index]));
  draw('c-policy', { series: policy, step, now, stacked: true, label: count });
}

function troubles({ troubles: list, history }) {
  const weight = ({ breaker }) => ({ open: 0, 'half-open': 1 })[breaker.state] ?? 2;
  const newest = ({ last_failure }) => last_failure?.at ?? 0;
  list.sort((a, b) => weight(a) - weight(b) || newest(b) - newest(a));
  const rows = list.slice(0, 12).map(({ site, policy, breaker, kept_out, last_failure, failed, burnt }) => {
    const state = breaker.state === 'open' ? `open ${breaker.seconds} s` : breaker.state;
    const counts = [`${whole(failed)} failed`, burnt ? `${whole(burnt)} burnt` : '', kept_out ? `${whole(kept_out)} networks kept out` : ''];
    return el(
      'div',
      { class: 'trouble' },
      el('span', { class: `chip ${breaker.state}` }, state),
      el('span', { class: 'who' }, policy, el('small', {}, `${site}: ${counts.filter(Boolean).join(', ')}`)),
      el('span', { class: 'why' }, last_failure?.reason ?? ''),
      el('span', { class: 'when' }, last_failure ? `${span(Math.max(0, (history.now - last_failure.at) / 1000))} ago` : ''),
    );
  });
  const more = list.length - rows.length;
  if (more > 0) rows.push(el('p', { class: 'more' }, `and ${more} more: GET /breakers`));
  $('troubles').replaceChildren(...(rows.length ? rows : [el('p', { class: 'nothing good' }, 'No policy has failed since it was loaded, and every breaker is closed.')]));
}

function certificates({ certificates: list, history }) {
  $('certificates-card').hidden = list.length === 0;
  const rows = list.slice(0, 12).map(({ name, expires_at, next_at, error }) => {
    const left = expires_at === null ? null : (expires_at - history.now) / 1000;
    const next = (next_at - history.now) / 1000;
    const state = left === null ? 'missing' : left > 0 ? 'ready' : 'expired';
    return el(
      'div',
      { class: 'trouble' },
      el('span', { class: `chip ${error || state !== 'ready' ? 'open' : 'closed'}` }, state),
      el('span', { class: 'who' }, name, el('small', {}, left > 0 ? `good for ${span(left)}` : 'nobody can trust it')),
      el('span', { class: 'why' }, error ?? ''),
      el('span', { class: 'when' }, next > 0 ? `ordered in ${span(next)}` : 'being ordered'),
    );
  });
  const more = list.length - rows.length;
  if (more > 0) rows.push(el('p', { class: 'more' }, `and ${more} more: GET /status`));
  $('certificates').replaceChildren(...rows);
}

function cell(text, kind = '') {
  return el('td', kind ? { class: kind } : {}, text);
}

const number = (value, kind = '') => cell(whole(value), value === 0 ? 'zero' : kind);

function siteTable({ history: { server, sites, more_sites: more } }) {
  const rows = sites.map((site) =>
    el(
      'tr',
      {},
      cell(site.site),
      el('td', { class: 'spark' }, spark(site.minutes)),
      number(site.requests),
      number(site.client_errors, 'warn'),
      number(site.server_errors, 'bad'),
      cell(bytes(site.bytes), site.bytes === 0 ? 'zero' : ''),
      cell(micros(site.p50)),
      cell(micros(site.p99)),
      cell(percent(site.reused, site.reused + site.ran)),
      cell(micros(site.spent_us), site.spent_us === 0 ? 'zero' : ''),
    ),
  );
  const nothing = server.bytes.length ? 'Nobody has asked for anything in the last hour.' : NO_SAMPLE;
  $('sites').replaceChildren(...(rows.length ? rows : [el('tr', {}, el('td', { colspan: 10, class: 'nothing' }, nothing))]));
  $('more-sites').hidden = more === 0;
  $('more-sites').textContent = `${whole(more)} more sites were asked for something in the last hour.`;
}

function policyTable({ policies }) {
  const rows = policies.map((row) =>
    el(
      'tr',
      {},
      cell(row.policy),
      el('td', { class: 'share' }, bar(row.reused, row.reused + row.ran)),
      number(row.ran),
      cell(row.ran ? micros(row.spent_microseconds / row.ran) : '–'),
      cell(micros(row.spent_microseconds), row.spent_microseconds === 0 ? 'zero' : ''),
      number(row.failed, 'bad'),
      number(row.burnt, 'bad'),
      number(row.refused + row.throttled + row.over_budget, 'warn'),
    ),
  );
  $('policies').replaceChildren(...(rows.length ? rows : [el('tr', {}, el('td', { colspan: 8, class: 'nothing' }, 'No policies: every file is served to everyone.'))]));
}

// Nothing where there is no such cache.
function diskCache(cache) {
  if (!cache) return [];
  const { hits, misses, bytes: used, capacity, fetched_bytes: fetched, troubles } = cache;
  const failed = troubles ? `; the disk failed ${whole(troubles)} times` : '';
  return [
    ['Disk cache', percent(hits, hits + misses), `hits; ${bytes(fetched)} from stores`],
    ['Disk cache room', bytes(used), `of ${bytes(capacity)}${failed}`],
  ];
}

function processGrid({ process, cache, disk_cache: disk, connections, logs_lost: lost, reloads, uptime_seconds: up }) {
  const entries = [
    ['Memory', bytes(process.resident_bytes), ''],
    ['Processor time', micros(process.cpu_seconds * 1e6), up ? `${trim((100 * process.cpu_seconds / up).toFixed(1))} % of one core` : ''],
    ['Descriptors', whole(process.descriptors), process.most_descriptors ? `of ${whole(process.most_descriptors)}` : ''],
    ['Threads', whole(process.threads), ''],
    ['Open-file cache', percent(cache.hits, cache.hits + cache.misses), `hits; ${whole(cache.entries)} entries`],
    ...diskCache(disk),
    ['Connections accepted', whole(connections.accepted), connections.errors ? `${whole(connections.errors)} errors` : ''],
    ['TLS handshakes', whole(connections.handshakes), connections.handshakes_failed ? `${whole(connections.handshakes_failed)} failed` : ''],
    ['Log lines lost', whole(lost), ''],
    ['Reloads', whole(reloads.done), reloads.refused ? `${whole(reloads.refused)} refused` : ''],
  ];
  $('process').replaceChildren(...entries.map(([name, value, note]) => el('div', {}, el('dt', {}, name), el('dd', {}, value + ' ', el('small', {}, note)))));
}

function header(status) {
  $('state').textContent = status.state;
  $('state').className = `pill ${status.state}`;
  $('version').textContent = status.version;
  $('uptime').textContent = span(status.uptime_seconds);
  $('site-count').textContent = whole(status.sites);
  $('generation').textContent = whole(status.generation);
  const { last_errors: errors } = status.reloads;
  $('notice').hidden = errors.length === 0;
  $('notice').textContent = `The last reload was refused; the old configuration is served on.\n${errors.slice(0, 5).join('\n')}`;
}

function show(status) {
  for (const part of [header, tiles, diagrams, troubles, certificates, siteTable, policyTable, processGrid]) part(status);
}

// ---- asking

function live(on, text) {
  $('live').className = `live ${on ? 'on' : 'off'}`;
  $('live-text').textContent = text;
}

async function ask() {
  try {
    const answer = await fetch('/status', { cache: 'no-store', credentials: 'same-origin' });
    if (answer.status === 401) return window.location.reload();
    if (!answer.ok) throw new Error(`the server says ${answer.status}`);
    show(await answer.json());
    live(true, `live, ${new Date().toLocaleTimeString()}`);
    document.body.dataset.shown = 'yes';
  } catch (error) {
    live(false, error instanceof TypeError ? 'the server does not answer' : error.message);
    $('state').textContent = 'unknown';
    $('state').className = 'pill down';
  }
  // What nobody looks at is not asked for.
  setTimeout(() => (document.hidden ? wait() : ask()), EVERY);
}

function wait() {
  document.addEventListener('visibilitychange', ask, { once: true });
}

let resizing;
window.addEventListener('resize', () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => charts.forEach((redraw) => redraw()), 100);
});
ask();
