package coordinator

import (
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

// Table returns the table as clients get it, empty before the member serves.
func (c *Coordinator) Table() protocol.Table {
	t := protocol.Table{Type: protocol.TypeTable}
	v := c.View()
	if v == nil || len(v.Partitions) == 0 || !c.IsReady() {
		return t
	}
	t.Epoch, t.Partitions, t.Cluster = v.Epoch, v.Partitions, v.Cluster
	for _, g := range v.Groups {
		leader, term := c.LeaderIn(v, g.ID)
		group := protocol.TableGroup{ID: g.ID, Term: term, Leader: leader}
		for _, r := range g.Replicas {
			if o, _ := v.Member(r.Member); !o.Gone { // nobody is there to be asked
				group.Replicas = append(group.Replicas, r.Member)
			}
		}
		t.Groups = append(t.Groups, group)
	}
	for _, o := range v.Members {
		if o.Gone {
			continue
		}
		address, _ := c.AddressOf(o.ID)
		t.Members = append(t.Members, protocol.TableMember{ID: o.ID, Name: o.Name, Address: address})
	}
	return mutants.Previous(mutants.StaleTable, c, t)
}
