//go:build mutants

package gossip

import "github.com/quorate/quorate/mutants"

// mutantLabel leaves the cluster's name out of the gossip.
func mutantLabel(label string) string {
	if mutants.On(mutants.GossipUnlabelled) {
		return ""
	}
	return label
}
