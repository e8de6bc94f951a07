// Package nearest finds the known name that is most like a mistyped one.
package nearest

import "strings"

// longest bounds the names that are compared.
const longest = 64

// Name returns the one of the known names that a reader may have meant, empty where
// none is near. Case and the difference between _ and - do not count. Of several the
// first is returned.
func Name(name string, known []string) string {
	if len(name) > longest {
		return ""
	}
	best, least := "", len(name)/2+1
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	for _, k := range known {
		if d := distance(name, strings.ReplaceAll(k, "_", "-")); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace, and the pairs to swap,
// that make b of a.
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
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
