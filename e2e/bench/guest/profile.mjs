// Says where the filter's time goes, by packages, of profiles that node --cpu-prof wrote of host.mjs with modules that have names:
//
//   node profile.mjs FILE.cpuprofile...
//
// Start-up and configuration are left out, as is all that isn't the module's.
import fs from 'fs'

const memory = /^\(?\*?runtime[._].*(alloc|mark|sweep|scan|collect|gc|heap|mspan|mcache|mcentral|newobject|makeslice|wb)/i
const ours = /^spillway[/_](?:filter[/_])?(?:internal[/_])?(\w+?)[._(]/
const names = { plugin: 'binding (`plugin`, `abi`)', abi: 'binding (`plugin`, `abi`)' }

// group says whose a function is. Stock Go's names have _ for all but letters, digits and points.
function group(name) {
  const plain = name.replace(/^\(\*/, '').replace(/^github\.com[/_]spillway[-_]proxy[/_]/, '')
  if (memory.test(name)) return 'memory: allocation and collection'
  const found = ours.exec(plain)
  return found ? names[found[1]] ?? '`' + found[1] + '`' : 'Go\'s runtime and library'
}

for (const file of process.argv.slice(2)) {
  const { nodes, samples } = JSON.parse(fs.readFileSync(file)), parent = {}, byID = {}, count = {}
  for (const node of nodes) {
    byID[node.id] = node
    for (const child of node.children ?? []) parent[child] = node.id
  }
  const starting = id => id && (/configure|_initialize|_start$/i.test(byID[id].callFrame.functionName) || starting(parent[id]))
  let all = 0
  for (const id of samples) {
    const { url, functionName } = byID[id].callFrame
    if (!url.startsWith('wasm://') || starting(id)) continue
    const name = group(functionName)
    count[name] = (count[name] ?? 0) + 1
    all++
  }
  console.log(`${file}: ${all} samples`)
  for (const [name, n] of Object.entries(count).sort((a, b) => b[1] - a[1])) console.log(`| ${name} | ${(100 * n / all).toFixed(0)} % |`)
}
