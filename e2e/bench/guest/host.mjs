// Runs the filter in this program's V8 with a host that does next to nothing, and says what the filter itself takes of a request:
// what the host takes is measured by doing its part again without the filter, and taken off.
//
//   node --no-liftoff host.mjs JOB.json MODULE.wasm...
//
// The job, which bench writes to build/guest.json, has the filter's configuration, a request, the pieces of its answer, and how
// often. Modules are measured in turn, in short slices. On standard output: the microseconds a request of each slice, by module, and
// last those of a yardstick that no module has to do with.
import fs from 'fs'

const [, , jobFile, ...files] = process.argv
const job = JSON.parse(fs.readFileSync(jobFile))
const encoder = new TextEncoder(), decoder = new TextDecoder()
const config = encoder.encode(job.config), body = encoder.encode(job.body), answer = job.answer.map(piece => encoder.encode(piece))
const users = 1000, firstStream = 100, warm = 3000

// pairs is a header map as the host hands it over.
function pairs(headers) {
  const list = headers.map(pair => pair.map(text => encoder.encode(text)))
  const bytes = new Uint8Array(4 + list.reduce((sum, [k, v]) => sum + k.length + v.length + 10, 0))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, list.length, true)
  let at = 4
  for (const [k, v] of list) for (const part of [k, v]) { view.setUint32(at, part.length, true); at += 4 }
  for (const [k, v] of list) for (const part of [k, v]) { bytes.set(part, at); at += part.length + 1 }
  return bytes
}

const requestHeaders = Array.from({ length: users }, (_, user) => pairs([
  [':authority', '127.0.0.1'], [':path', '/v1/chat/completions'], [':method', 'POST'], [':scheme', 'http'],
  ['user-agent', 'OpenAI/Python 1.0'], ['accept', 'application/json'], ['authorization', 'Bearer sk-1234567890abcdef'],
  ['content-type', 'application/json'], ['content-length', '' + body.length], ['x-user-id', 'user-' + user],
  ['x-forwarded-proto', 'http'], ['x-request-id', '8f14e45f-ceea-167a-5a36-dedd4bea2543']]))
const responseHeaders = pairs([
  [':status', '200'], ['content-type', job.stream ? 'text/event-stream' : 'application/json'], ['date', 'Fri'],
  ['x-envoy-upstream-service-time', '1']])

// instantiate starts a module. With a record, each call to the host is noted there.
async function instantiate(module, record) {
  let memory, exports, metrics = 0, lines = ''
  const shared = new Map()
  const guest = { number: 0, piece: answer[0], alloc: size => (exports.malloc ?? exports.proxy_on_memory_allocate)(size) }
  // Views of the memory, which are made again only when it has grown.
  let words = new DataView(new ArrayBuffer(0)), octets
  const view = () => {
    if (words.buffer !== memory.buffer) { words = new DataView(memory.buffer); octets = new Uint8Array(memory.buffer) }
    return words
  }
  const bytesAt = (at, size) => { view(); return octets.subarray(at, at + size) }
  const text = (at, size) => decoder.decode(bytesAt(at, size))
  const give = (bytes, at, size) => {
    const to = bytes.length ? guest.alloc(bytes.length) : 0
    const memory = view()
    octets.set(bytes, to)
    memory.setUint32(at, to, true)
    memory.setUint32(size, bytes.length, true)
    return 0
  }
  const [ok, notFound, casMismatch, noFile] = [0, 1, 8, 8]
  const host = {
    proxy_log: (level, at, size) => { if (level >= 3) console.error(text(at, size)); return ok },
    proxy_get_property: () => notFound,
    proxy_get_header_map_pairs: (map, at, size) => give(map === 0 ? requestHeaders[guest.number % users] : responseHeaders, at, size),
    proxy_get_header_map_value: () => notFound,
    proxy_get_buffer_bytes: (buffer, start, size, to, length) => {
      const bytes = buffer === 7 ? config : buffer === 0 ? body : guest.piece
      return give(bytes.subarray(start, Math.min(bytes.length, start + size)), to, length)
    },
    proxy_get_shared_data: (key, keySize, at, size, cas) => {
      const entry = shared.get(text(key, keySize))
      if (!entry) return notFound
      give(entry.bytes, at, size)
      view().setUint32(cas, entry.version, true)
      return ok
    },
    proxy_set_shared_data: (key, keySize, at, size, cas) => {
      const name = text(key, keySize), entry = shared.get(name)
      if (entry && cas && entry.version !== cas) return casMismatch
      shared.set(name, { bytes: bytesAt(at, size).slice(), version: (entry?.version ?? 0) + 1 })
      return ok
    },
    proxy_define_metric: (type, at, size, id) => { view().setUint32(id, ++metrics, true); return ok },
    clock_time_get: (id, precision, at) => { view().setBigUint64(at, process.hrtime.bigint(), true); return ok },
    random_get: (at, size) => { crypto.getRandomValues(bytesAt(at, size)); return ok },
    args_sizes_get: (count, size) => { view().setUint32(count, 0, true); view().setUint32(size, 0, true); return ok },
    environ_sizes_get: (count, size) => { view().setUint32(count, 0, true); view().setUint32(size, 0, true); return ok },
    fd_write: (fd, vectors, count, written) => {
      let size = 0
      for (let i = 0; i < count; i++) {
        const at = view().getUint32(vectors + 8 * i, true), length = view().getUint32(vectors + 8 * i + 4, true)
        lines += text(at, length)
        size += length
      }
      view().setUint32(written, size, true)
      return ok
    },
    proc_exit: code => { throw new Error(`the filter ended with ${code}: ${lines}`) },
  }
  const imports = {}
  for (const { module: space, name } of WebAssembly.Module.imports(module)) {
    const call = host[name] ?? (() => space === 'env' ? ok : noFile)
    ;(imports[space] ??= {})[name] = record ? (...args) => { record.push([call, args]); return call(...args) } : call
  }
  exports = (await WebAssembly.instantiate(module, imports)).exports
  memory = exports.memory
  guest.memory = memory
  guest.call = name => exports[name] ?? (() => 1)
  guest.call('_initialize')()
  guest.call('proxy_on_context_create')(1, 0)
  guest.call('proxy_on_vm_start')(1, 0)
  if (!guest.call('proxy_on_configure')(1, config.length)) throw new Error('the filter takes no such configuration: ' + lines)
  return guest
}

// requester is one request, and its answer, given to a filter.
function requester(guest) {
  const [create, requestHeaders, requestBody, responseHeaders, responseBody, done, log, remove] = ['context_create', 'request_headers',
    'request_body', 'response_headers', 'response_body', 'done', 'log', 'delete'].map(name => guest.call('proxy_on_' + name))
  return () => {
    const id = firstStream + guest.number
    create(id, 1)
    requestHeaders(id, 12, 0)
    requestBody(id, body.length, 0)
    requestBody(id, body.length, 1)
    responseHeaders(id, 4, 0)
    for (guest.piece of answer) responseBody(id, guest.piece.length, 0)
    responseBody(id, 0, 1)
    done(id)
    log(id)
    remove(id)
    guest.number++
  }
}

// replayer is what the host does for one request, without the filter: the calls of a recorded one, again.
async function replayer(module) {
  const record = [], guest = await instantiate(module, record), one = requester(guest)
  for (let i = 0; i < 2 * users; i++) { record.length = 0; one() }
  const calls = [...record], scratch = guest.memory.buffer.byteLength
  guest.memory.grow(64)
  guest.alloc = () => scratch
  guest.number--
  return () => { for (const [call, args] of calls) call(...args) }
}

function measure(one, times) {
  const before = process.cpuUsage()
  for (let i = 0; i < times; i++) one()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / times
}

const yardstick = () => { for (let i = 0; i < 10; i++) { JSON.parse(job.body); JSON.parse(job.yardstick) } }
const subjects = []
for (const file of files) {
  const module = await WebAssembly.compile(fs.readFileSync(file))
  const subject = { one: requester(await instantiate(module)), replay: await replayer(module), slices: [] }
  measure(subject.one, warm)
  measure(subject.replay, warm)
  subjects.push(subject)
}
measure(yardstick, warm)
const yards = []
for (let i = 0; i < job.slices; i++) {
  for (const { one, replay, slices } of subjects) slices.push(measure(one, job.requests) - measure(replay, job.requests))
  yards.push(measure(yardstick, job.requests))
}
console.log(JSON.stringify([...subjects.map(subject => subject.slices), yards]))
