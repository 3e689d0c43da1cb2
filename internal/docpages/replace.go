package docpages

import "strings"

// Replace puts text between two marks of a file, such as lines of comment, and leaves the rest as it is. It says false where one of them isn't there.
func Replace(file, begin, end, text string) (replaced string, ok bool) {
	before, rest, begins := strings.Cut(file, begin)
	_, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		return "", false
	}
	return before + begin + text + end + after, true
}
