package config

// Unit is what a limit counts. All that tells one unit from another is in its row here, and no other place asks which of them a limit
// has: a new one is a row, and an entry in Units. What it counts of a request is worked out in package limit (amount), if no other unit
// counts that yet. Rows are never changed.
type Unit struct {
	Name    string  // in the configuration
	Counts  Counts  // what of a request
	Charged Charged // when that is used up
	Noun    string  // in messages: "tokens" per hour
	Reason  string  // of a refusal, in the gate limits

	// Headers are those of Anthropic's API in which clients are told the limit, what is left, and when it is full again; nil: clients know no
	// headers of such a unit, and are told in none. Of OpenAI's there are two kinds alone, by Tokens.
	Headers *[3]string

	doc string // what is counted, where the name doesn't say it
}

// Counts is what of a request is counted.
type Counts uint8

// What can be counted.
const (
	CountsRequests   Counts = iota // the request itself: one, whatever it is
	CountsPrompt                   // the tokens of its prompt
	CountsCompletion               // those of its output
	CountsTotal                    // both
	CountsCost                     // both, each kind multiplied by its weight in Usage.Cost
	CountsSpend                    // what it costs by Prices
)

// Charged is when what is counted is used up. Until then a request only holds it, and a worker that dies gives it back.
type Charged uint8

// The moments.
const (
	WhenSent  Charged = iota // as the request goes to the upstream
	WhenEnded                // at its end, when it is known how much it was
	Never                    // not at all: its place is free again when it has ended, so that such a limit has no window
)

// The units.
var (
	Requests = &Unit{
		Name: "requests", Counts: CountsRequests, Charged: WhenSent,
		Noun: "requests", Reason: "requests_exceeded",
		Headers: &requestHeaders,
	}
	PromptTokens = &Unit{
		Name: "promptTokens", Counts: CountsPrompt, Charged: WhenEnded,
		Noun: "prompt tokens", Reason: "tokens_exceeded",
		Headers: &inputHeaders,
	}
	CompletionTokens = &Unit{
		Name: "completionTokens", Counts: CountsCompletion, Charged: WhenEnded,
		Noun: "tokens", Reason: "tokens_exceeded",
		Headers: &outputHeaders,
	}
	TotalTokens = &Unit{
		Name: "totalTokens", Counts: CountsTotal, Charged: WhenEnded,
		Noun: "total tokens", Reason: "tokens_exceeded", doc: "prompt and completion tokens",
		Headers: &tokenHeaders,
	}
	Cost = &Unit{
		Name: "cost", Counts: CountsCost, Charged: WhenEnded,
		Noun: "cost units", Reason: "cost_exceeded", doc: "tokens times usage.cost",
		Headers: &tokenHeaders,
	}
	USD = &Unit{
		Name: "usd", Counts: CountsSpend, Charged: WhenEnded,
		Noun: "spend", Reason: "spend_exceeded", doc: "dollars, by prices",
	}
	Inflight = &Unit{
		Name: "inflight", Counts: CountsRequests, Charged: Never,
		Noun: "requests under way at once", Reason: "inflight_exceeded", doc: "requests under way at once, from admission to their end",
	}

	// Units are all of them, in the order of the documentation.
	Units = []*Unit{Requests, PromptTokens, CompletionTokens, TotalTokens, Cost, USD, Inflight}
)

var (
	requestHeaders = [3]string{"anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"}
	tokenHeaders   = [3]string{"anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"}
	inputHeaders   = [3]string{"anthropic-ratelimit-input-tokens-limit", "anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"}
	outputHeaders  = [3]string{"anthropic-ratelimit-output-tokens-limit", "anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"}
)

// Tokens says that it counts tokens: it is only for requests that use some, and how many can depend on the body.
func (u *Unit) Tokens() bool { return u.Counts != CountsRequests }

// Money says that it counts dollars: a limit's quantity and burst, and all amounts of it, are in billionths of one, and are shown as dollars.
func (u *Unit) Money() bool { return u != nil && u.Counts == CountsSpend }

// unit is the field of a unit, by its name.
func unit(name string, to **Unit) field {
	doc, words := "What is counted.", make([]string, len(Units))
	between := " "
	for i, u := range Units {
		words[i] = u.Name
		if u.doc != "" {
			doc += between + u.Name + " is " + u.doc
			between = "; "
		}
	}
	read := scalar[string]{new(string), "", enumKind{words}}
	return field{name: name, doc: docOf(doc + "."), value: assigned{read, func(word string) { *to = unitNamed(word) }, func() string { return (*to).Name }}}
}

// withoutWindow are the names of the units of limits that have no window.
func withoutWindow() (names []string) {
	for _, u := range Units {
		if u.Charged == Never {
			names = append(names, u.Name)
		}
	}
	return names
}

// unitNamed gives the unit of a name, nil if there is none.
func unitNamed(name string) *Unit {
	for _, u := range Units {
		if u.Name == name {
			return u
		}
	}
	return nil
}
