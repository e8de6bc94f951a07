package dpresence

import (
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/roster"
)

// Kind describes groups of members. Their Machine and operations are those of a roster.
func Kind() structures.Kind {
	return roster.Kind(structures.Kind{
		ID: 14, Name: "presence", Level: 1,
		Doc:  "A group of members by ID, each with a payload, gone with their sessions",
		Unit: "members",
	})
}

// kind is that of the handles.
var kind = Kind()
