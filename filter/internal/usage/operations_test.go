package usage

import (
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

func TestPathsHaveTheirDialects(t *testing.T) {
	o := NewOperations([]config.Operation{
		{Path: "/ask", Dialect: "openai.chat"},
		{Path: "/v9/chat/completions", Dialect: "openai.completions"},
		{Path: "/special/embeddings", Dialect: "no.such"},
	})
	tests := []struct {
		name, path string
		dialect    *Dialect
		operation  string
	}{
		{"chat completions", "/v1/chat/completions", chat, "chat"},
		{"are not completions", "/v1/completions", completions, "completions"},
		{"chats in a batch", "/v1/chat/completions/batch", chat, "chat"},
		{"SageMaker's", "/invocations", chat, "chat"},
		{"compaction", "/v1/responses/compact", responses, "responses"},
		{"embeddings", "/v1/embeddings", embeddings, "embeddings"},
		{"below any prefix", "/openai/deployments/gpt-4/chat/completions", chat, "chat"},
		{"with a query", "/v1/chat/completions?api-version=2024", chat, "chat"},
		{"what the query holds does not count", "/v1/other?next=/chat/completions", nil, "other"},
		{"the list of models", "/v1/models", nil, "models"},
		{"one model", "/v1/models/gpt-4?x=1", nil, "models"},
		{"configured", "/ask", chat, "chat"},
		{"configured, behind a prefix, with a query", "/x/ask?y", chat, "chat"},
		{"configured ahead of the built-in ones", "/v9/chat/completions", completions, "completions"},
		{"configured as something that can't be read", "/special/embeddings", nil, "other"},
		{"anything else", "/health", nil, "other"},
		{"nothing", "", nil, "other"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dialect, operation := o.Find(test.path)
			if dialect != test.dialect || operation != test.operation {
				t.Errorf("%s: got %v, %s", test.path, dialect, operation)
			}
		})
	}
}

func TestDialectsNameThemselves(t *testing.T) {
	for _, test := range []struct {
		dialect                   *Dialect
		name, operation, provider string
		outputs                   bool
	}{
		{chat, "openai.chat", "chat", "openai", true},
		{completions, "openai.completions", "completions", "openai", true},
		{embeddings, "openai.embeddings", "embeddings", "openai", false},
	} {
		d := test.dialect
		if d.Name != test.name || d.Operation != test.operation || d.Provider != test.provider || d.Outputs != test.outputs {
			t.Errorf("%s: %s, %s, %v", d.Name, d.Operation, d.Provider, d.Outputs)
		}
	}
}
