package config

import "strconv"

// Weight is for how many requests one counts in an upstream's concurrency or budget; the first entry that matches it counts.
type Weight struct {
	Models      []string // globs, on canonical names
	AbovePrompt int64    // the entry is for prompts of more tokens than that, as they are estimated; 0: for all
	Units       int      // at least 1
}

const maxUnitsOfOne = 10_000

func (w *Weight) fields() []field {
	return []field{
		someStrs("models", &w.Models, []string{"*"}, globs, "Globs of the models that the entry is for."),
		object("promptTokens", part{
			integer("above", &w.AbovePrompt, 0, 0, maxOutput, "Only prompts of more tokens than that, as they are estimated when the request comes; 0 is all."),
		}, "The lengths of prompts that the entry is for."),
		required(integer("units", &w.Units, 0, 1, maxUnitsOfOne, "For how many requests one counts. Where that is more than there can ever be, it takes all: it "+
			"goes alone, rather than never.")),
	}
}

// needs finds weights in what is unlimited.
func needs(r *reader, path string, weights []Weight, of string) {
	if len(weights) > 0 {
		r.problem(join(path, "weights"), strconv.Itoa(len(weights)), "weighs requests of which there is no limit; want "+of+", too")
	}
}
