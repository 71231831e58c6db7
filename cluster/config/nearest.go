package config

// Nearest returns the candidate most like name, or "" if none is close enough to be a typing error: at most a
// third of its letters differ. Case counts half, since most errors are like podCidr for podCIDR.
func Nearest(name string, candidates []string) string {
	best, bestCost := "", 2*(len(name)/3+1)+1
	for _, c := range candidates {
		if cost := distance(name, c); cost < bestCost {
			best, bestCost = c, cost
		}
	}
	return best
}

// distance is the Levenshtein distance in half steps: 2 for an insertion, deletion or substitution, 1 for a letter that
// differs in case alone.
func distance(a, b string) int {
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = 2 * j
	}
	for i := 1; i <= len(a); i++ {
		cur := make([]int, len(b)+1)
		cur[0] = 2 * i
		for j := 1; j <= len(b); j++ {
			cur[j] = min(prev[j]+2, cur[j-1]+2, prev[j-1]+substitution(a[i-1], b[j-1]))
		}
		prev = cur
	}
	return prev[len(b)]
}

func substitution(x, y byte) int {
	switch {
	case x == y:
		return 0
	case x|0x20 == y|0x20 && x|0x20 >= 'a' && x|0x20 <= 'z':
		return 1
	default:
		return 2
	}
}
