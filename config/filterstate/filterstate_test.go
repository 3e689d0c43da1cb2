package filterstate

import (
	"slices"
	"strings"
	"testing"
)

func TestEveryValueHasANameOfItsOwnAndAMeaning(t *testing.T) {
	names := Names()
	for i, row := range Table() {
		if row.Name == "" || row.Help == "" {
			t.Errorf("value %d is %+v", i, row)
		}
		if slices.Index(names, row.Name) != i {
			t.Errorf("%s is the name of two values", row.Name)
		}
		if v, known := Named(row.Name); !known || v != Value(i) || v.Name() != row.Name {
			t.Errorf("%s is value %d, %t; want %d", row.Name, v, known, i)
		}
	}
	if v, known := Named("gen_ai.completion.token"); known {
		t.Errorf("an unknown name is value %d", v)
	}
}

// names are those of a set's values, in the table's order.
func (s Set) names() string {
	var names []string
	for v := range Count {
		if s.Has(v) {
			names = append(names, v.Name())
		}
	}
	return strings.Join(names, " ")
}

func TestPresetsAreWhatTheirNamesSay(t *testing.T) {
	for _, test := range []struct {
		set  Set
		want string
	}{
		{All, strings.Join(Names(), " ")},
		{Tokens, "gen_ai.request.model gen_ai.response.model gen_ai.prompt.tokens gen_ai.completion.tokens gen_ai.total.tokens" +
			" gen_ai.cached.tokens gen_ai.reasoning.tokens gen_ai.usage.cache_write.tokens gen_ai.usage.audio.tokens"},
		{Minimal, "spillway.decision spillway.gate spillway.reason gen_ai.completion.tokens"},
		{Set(0).With(ITLMillis).With(Decision), "spillway.decision gen_ai.itl.ms"},
		{0, ""},
	} {
		if got := test.set.names(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
