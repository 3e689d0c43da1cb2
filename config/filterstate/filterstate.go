// Package filterstate is the table of the values that the filter puts into the proxy's filter state, from where the access log and other
// filters take them. The configuration says which of them are wanted (publish), by name or by preset; that is resolved once, into a Set.
// All else names a value by its constant. docs/filter-state.md is generated from the table, by `make docs`.
//
// The package has no state, and rows are never changed.
package filterstate

// Value is one value of a request's filter state, less than Count.
type Value uint8

// The values. A new one is a line here and a row of the table, and is set somewhere.
const (
	Decision Value = iota
	Gate
	Reason
	Limit
	Subject
	Measured
	Threshold
	Retryable
	RetryMillis
	Priority
	QueueMillis
	Operation
	Provider
	RequestModel
	ResponseModel
	PromptTokens
	CompletionTokens
	TotalTokens
	CachedTokens
	ReasoningTokens
	CacheWriteTokens
	AudioTokens
	UsageSource
	TTFTMillis
	ITLMillis

	Count // how many there are
)

// Row is what the table has of a value.
type Row struct {
	Name    string // for the host, which puts "wasm." before it
	Help    string // what it is, in Markdown
	presets presets
}

// presets are those that a value belongs to, beside the one of all values.
type presets uint8

const (
	tokens presets = 1 << iota
	minimal
)

var table = [Count]Row{
	Decision: {"spillway.decision", "`ALLOWED`; `QUEUED`: waited, and passed; `SHADOW`: passed, and would not have; `REJECTED`; `OPEN`, `HALF_OPEN`: refused" +
		" by a breaker in that state; `FALLBACK`: sent to the fallback route; `CANCELLED`: the client left before; `FAULT`: passed undecided, for a fault of ours", minimal},
	Gate:   {"spillway.gate", "the gate that decided; with `SHADOW` the first that would have refused; absent where none had anything to say", minimal},
	Reason: {"spillway.reason", "why it did, with numbers if they are more than the two below", minimal},
	Limit:  {"spillway.limit", "its limit, if it has several", 0},
	Subject: {"spillway.subject", "whom that limit charges: `user=ann tenant=acme`, or `everybody`; 64 bytes at most. Of keys, and whatever else may be a" +
		" secret, a hash: `key=h:9f2c61d0`, the same for the same key until the proxy is restarted", 0},
	Measured:    {"spillway.measured", "what the gate found, in its own unit: shares, milliseconds, requests a second, units of a limit", 0},
	Threshold:   {"spillway.threshold", "what it held that against", 0},
	Retryable:   {"spillway.retryable", "`true` or `false`: whether a refused request is worth trying again", 0},
	RetryMillis: {"spillway.retry.ms", "when it is", 0},
	Priority:    {"spillway.priority", "`URGENT`, `HIGH`, `NORMAL` or `LOW`", 0},
	QueueMillis: {"spillway.queue.ms", "how long it waited for its turn, if it did", 0},

	Operation:     {"gen_ai.operation.name", "`chat` and the like, as the [table of dialects](dialects.md) has it; `models` or `other` beside those", 0},
	Provider:      {"gen_ai.provider.name", "whose API the path belongs to, of a request that went on to its server", 0},
	RequestModel:  {"gen_ai.request.model", "as the request names it", tokens},
	ResponseModel: {"gen_ai.response.model", "as the answer names it", tokens},

	PromptTokens: {"gen_ai.prompt.tokens", "input, of which cached, cache-written and audio tokens are a part", tokens},
	CompletionTokens: {"gen_ai.completion.tokens", "output, of which reasoning and audio tokens are a part. Kept up to date while a stream runs, ten times a second: output so far; final at its end",
		tokens | minimal},
	TotalTokens:      {"gen_ai.total.tokens", "both", tokens},
	CachedTokens:     {"gen_ai.cached.tokens", "of the input, if any", tokens},
	ReasoningTokens:  {"gen_ai.reasoning.tokens", "of the output, if any", tokens},
	CacheWriteTokens: {"gen_ai.usage.cache_write.tokens", "of the input, if any", tokens},
	AudioTokens:      {"gen_ai.usage.audio.tokens", "of both, if any", tokens},
	UsageSource:      {"gen_ai.usage.source", "how the counts are known: `reported`, `counted` or `estimated`", 0},
	TTFTMillis:       {"gen_ai.ttft.ms", "of a stream: time to its first token, as the client saw it", 0},
	ITLMillis:        {"gen_ai.itl.ms", "of a stream: average time between its tokens", 0},
}

// Table is the table, in its order.
func Table() []Row { return table[:] }

// Name is what the host calls the value.
func (v Value) Name() string { return table[v].Name }

// Named gives the value of a name.
func Named(name string) (v Value, known bool) {
	for i := range table {
		if table[i].Name == name {
			return Value(i), true
		}
	}
	return 0, false
}

// Names are those of all values.
func Names() []string {
	names := make([]string, Count)
	for i := range table {
		names[i] = table[i].Name
	}
	return names
}

// Set is some of the values.
type Set uint32

// All is every one of them, the preset of that name; the others follow.
const All Set = 1<<Count - 1

var (
	// Tokens are all counts of tokens, and the models they are of.
	Tokens = preset(tokens)
	// Minimal is the count that a global limit charges, and what was decided.
	Minimal = preset(minimal)
)

func preset(p presets) (s Set) {
	for i := range table {
		if table[i].presets&p != 0 {
			s = s.With(Value(i))
		}
	}
	return s
}

// With is the set with one more value.
func (s Set) With(v Value) Set { return s | 1<<v }

// Has says that a value is one of them.
func (s Set) Has(v Value) bool { return s>>v&1 != 0 }
