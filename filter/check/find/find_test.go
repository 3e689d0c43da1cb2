package find

import "testing"

func FuzzFind(f *testing.F) {
	for _, seed := range []string{"", "{}", "mode: off", "a: &a [*a]", "limits: [{name: a}]", "{\"mode\": \"\\ud800\"}", "apiVersion: v1\nkind: WasmPlugin\nspec: {pluginConfig: []}"} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, text []byte, saidJSON bool) {
		all, err := find(text, saidJSON)
		if err == nil && len(all) == 0 {
			t.Error("neither a configuration nor an error")
		}
		for i := range all {
			if _, problems := all[i].Check(); problems != nil && len(problems) == 0 {
				t.Error("wrong for no reason")
			}
		}
	})
}
