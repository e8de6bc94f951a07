package dservice

import (
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/roster"
)

// Kind describes services. Their Machine and operations are those of a roster.
func Kind() structures.Kind {
	return roster.Kind(structures.Kind{
		ID: 13, Name: "service", Level: 1,
		Doc:  "Instances of a service by ID, each with an address, metadata and health, gone with their sessions",
		Unit: "instances",
	})
}

// kind is that of the handles.
var kind = Kind()
