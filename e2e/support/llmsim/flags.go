package llmsim

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

// RegisterFlags adds a flag for every option to fs. A flag that stands for an
// x-sim-* header bears its name.
func (o *Options) RegisterFlags(fs *flag.FlagSet) {
	fs.Func("models", "comma-separated `names` that GET /v1/models lists (default "+DefaultModel+")", func(v string) error {
		o.Models = strings.Split(v, ",")
		return nil
	})
	fs.IntVar(&o.EmbeddingDim, "embedding-dim", DefaultEmbeddingDim, "length of an embedding vector")
	fs.IntVar(&o.Slots, "slots", 0, "requests that generate at once, the others wait in a FIFO queue; 0: unlimited")
	fs.Float64Var(&o.Slowdown, "slowdown", 0, "growth of the latency with the load: itl*(1+slowdown*(running-1))")
	fs.IntVar(&o.RPM, "rpm", 0, "requests per minute above which to answer 429; 0: unlimited")
	o.registerScript(fs)
	fs.BoolVar(&o.NoHistory, "no-history", false, "keep no records of requests, for benchmarks")
	fs.IntVar(&o.History, "history", DefaultHistory, "records of requests to keep")
	fs.IntVar(&o.RecordBody, "record-body", DefaultRecordBody, "bytes of a body to keep with its record")
	fs.Func("record-headers", "comma-separated `names` of request headers to keep with a record; name* is a prefix", func(v string) error {
		o.RecordHeaders = strings.Split(v, ",")
		return nil
	})
	fs.IntVar(&o.MaxBody, "max-body", DefaultMaxBody, "bytes of a request body above which to answer 413")
}

// registerScript adds the flags that have a header of the same name, whose help
// they share.
func (o *Options) registerScript(fs *flag.FlagSet) {
	for _, f := range []struct {
		to    *int
		name  string
		value int
	}{
		{&o.Tokens, "tokens", 0}, // the default depends on content
		{&o.PromptTokens, "prompt-tokens", 0},
		{&o.CachedTokens, "cached-tokens", 0},
		{&o.ReasoningTokens, "reasoning-tokens", 0},
		{&o.Comments, "comments", 0},
		{&o.Status, "status", 0},
		{&o.RetryAfter, "retry-after", 0},
		{&o.ErrorAfter, "error-after", 0},
		{&o.AbortAfter, "abort-after", 0},
	} {
		fs.IntVar(f.to, f.name, f.value, overrideByName[f.name].help)
	}
	for _, f := range []struct {
		to    *string
		name  string
		value string
	}{
		{&o.Chunk, "chunk", "event"},
		{&o.EOL, "eol", "lf"},
		{&o.Usage, "usage", UsageAuto},
		{&o.Content, "content", ""},
		{&o.ToolCalls, "tool-calls", ""},
	} {
		fs.StringVar(f.to, f.name, f.value, overrideByName[f.name].help)
	}
	for _, f := range []struct {
		to   *bool
		name string
	}{
		{&o.NoDone, "no-done"}, {&o.NoTrailingBlank, "no-trailing-blank"},
	} {
		fs.BoolVar(f.to, f.name, false, overrideByName[f.name].help)
	}
	fs.BoolVar(&o.Gzip, "gzip", false, "compress answers, whether or not the client accepts it")
	fs.DurationVar(&o.TTFT, "ttft", 0, overrideByName["ttft"].help)
	fs.DurationVar(&o.ITL, "itl", 0, overrideByName["itl"].help)
	fs.Func("hang", "hold the slot and send nothing, headers included, for a `duration`, or forever", func(v string) error {
		var s script
		err := setHang(&s, v)
		o.Hang = s.hang
		return err
	})
}

// WriteFlagHelp writes the flags of fs with two dashes and their defaults.
func WriteFlagHelp(w io.Writer, fs *flag.FlagSet) {
	fs.VisitAll(func(f *flag.Flag) {
		value, help := flag.UnquoteUsage(f)
		if value != "" {
			value = " " + value
		}
		if d := f.DefValue; d != "" && d != "0" && d != "0s" && d != "false" {
			help += " (default " + d + ")"
		}
		fmt.Fprintf(w, "  --%s%s\n        %s\n", f.Name, value, help)
	})
}
