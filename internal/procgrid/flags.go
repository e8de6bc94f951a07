package procgrid

import (
	"fmt"
	"strings"
)

// Flags are how a member process is started: the flags of quorate start. The zero
// value of a flag is the member's default.
type Flags struct {
	Name       string
	Listen     string
	Advertise  string
	Join       []string
	Expect     int // how many members form the cluster
	Cluster    string
	Durability string // "disk" or "memory"
	Dir        string // of its data; a member in memory has none
	HTTP       string
	Insecure   bool // it may listen beyond loopback
}

// Args returns the arguments of start. The member ends when its stdin is closed.
func (f Flags) Args() []string {
	args := []string{"--name", f.Name, "--listen", f.Listen, "--end-with-stdin"}
	add := func(flag, value string) {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	add("--advertise", f.Advertise)
	add("--join", strings.Join(f.Join, ","))
	if f.Expect > 0 {
		add("--bootstrap-expect", fmt.Sprint(f.Expect))
	}
	add("--cluster", f.Cluster)
	add("--durability", f.Durability)
	if f.Durability != "memory" {
		add("--data-dir", f.Dir)
	}
	add("--http", f.HTTP)
	if f.Insecure {
		args = append(args, "--insecure")
	}
	return args
}
