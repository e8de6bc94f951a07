package nemesis

func diskFaults() []Fault    { return nil }
func dataFaults() []Fault    { return nil }
func machineFaults() []Fault { return nil }
