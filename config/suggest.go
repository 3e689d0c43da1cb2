package config

import "strings"

// nearest is the known name that was probably meant by key, or "".
func nearest(key string, known []string) string {
	if len(key) > maxShown {
		return ""
	}
	best, bestDistance := "", 3
	for _, name := range known {
		if folded(name) == folded(key) {
			return name
		}
		// A third of a name may be wrong: two slips make another word of a short one.
		if d := distance(folded(key), folded(name)); d < bestDistance && 3*d <= len(name) {
			best, bestDistance = name, d
		}
	}
	return best
}

// folded makes max_wait, max-wait and MaxWait one word. (A strings.Replacer would make the module 15 KB larger.)
func folded(s string) string {
	word := make([]byte, 0, len(s))
	for _, c := range []byte(strings.ToLower(s)) {
		if c != '_' && c != '-' && c != ' ' {
			word = append(word, c)
		}
	}
	return string(word)
}

// distance is the number of bytes to insert, delete, replace or swap with their neighbour to get from a to b (optimal
// string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			changed := 1
			if a[i-1] == b[j-1] {
				changed = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+changed)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
