package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/quorate/quorate/bench"
	"github.com/quorate/quorate/protocol"
)

type VersionCommand struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"Form of the output: text or json." placeholder:"FORM"`
}

// Run runs the command.
func (cmd *VersionCommand) Run(a *App) error {
	v := "devel"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		v = info.Main.Version
	}
	platform := runtime.GOOS + "/" + runtime.GOARCH
	return a.Print(fmt.Sprintf("quorate %s commit %s protocol %d %s %s", v, bench.Commit(), protocol.WireVersion, runtime.Version(), platform),
		Object{"version": v, "commit": bench.Commit(), "protocol": protocol.WireVersion, "go": runtime.Version(), "platform": platform})
}
