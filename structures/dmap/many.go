package dmap

import (
	"bytes"
	"fmt"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// get answers opGet.
func get(view structures.View, key []byte) structures.Result {
	row, ok := view.Get(key)
	if !ok {
		return structures.OK(nothing)
	}
	b := make([]byte, 0, len(row.Value)+24)
	if row.Owner == 0 {
		return structures.OK(appendEntry(protocol.AppendArray(b, 3), view, row))
	}
	b = appendEntry(protocol.AppendArray(b, 4), view, row)
	return structures.OK(protocol.AppendUint(b, uint64(row.Owner)))
}

func appendEntry(dst []byte, view structures.View, row structures.Row) []byte {
	dst = protocol.AppendBytes(dst, row.Value)
	dst = protocol.AppendUint(dst, uint64(row.Version))
	return protocol.AppendUint(dst, left(view, row))
}

// getMany answers opGetAll, as many keys as fit a page.
func getMany(view structures.View, items []item) structures.Result {
	var b []byte
	found, next := 0, len(items)
	for i := range items {
		row, ok := view.Get(items[i].key)
		if !ok {
			continue
		}
		if found > 0 && len(b)+len(row.Value) > int(view.Limits().PageBytes) {
			next = i
			break
		}
		b = appendEntry(protocol.AppendUint(b, uint64(i)), view, row)
		found++
	}
	head := protocol.AppendArray(make([]byte, 0, len(b)+8), 1+4*found)
	head = protocol.AppendUint(head, uint64(next))
	return structures.OK(append(head, b...))
}

// scan answers opScan and opScanKeys.
func scan(view structures.View, op protocol.Op, a scanArgs) structures.Result {
	limits := view.Limits()
	maxBytes := int(min(a.maxBytes, uint64(limits.PageBytes)))
	fields := 4
	if op == opScanKeys {
		fields = 1
	}
	var b []byte
	found := 0
	var next []byte
	rest := ascend(view, a.from, func(key []byte, row structures.Row) bool {
		if len(a.to) > 0 && bytes.Compare(key, a.to) >= 0 {
			return false
		}
		size := len(key)
		if op == opScan {
			size += len(row.Value)
		}
		if found > 0 && (found >= int(limits.PageEntries) || len(b)+size > maxBytes) {
			next = key
			return false
		}
		b = protocol.AppendBytes(b, key)
		if op == opScan {
			b = appendEntry(b, view, row)
		}
		found++
		return true
	})
	if next == nil {
		next = rest
	}
	if len(a.to) > 0 && bytes.Compare(next, a.to) >= 0 {
		next = nil
	}
	head := protocol.AppendArray(make([]byte, 0, len(b)+len(next)+16), 1+fields*found)
	return structures.OK(append(protocol.AppendBytes(head, next), b...))
}

// ascend calls f for the entries from a key on, as View.Ascend does.
func ascend(view structures.View, from []byte, f func(key []byte, row structures.Row) bool) (rest []byte) {
	if len(from) == 0 || from[0] < firstEntry[0] {
		from = firstEntry
	}
	return view.Ascend(from, f)
}

// applyMany carries out a mutation of many keys, all of them or none.
func applyMany(env structures.Env, op protocol.Op, body []byte) structures.Result {
	a, items, _ := readMany(op, body)
	e := edit{env: env}
	e.load()
	type change struct {
		slot
		value    []byte
		deadline protocol.LogTime
		owner    protocol.SessionID
	}
	changes := make([]change, len(items))
	for i, it := range items {
		if r := tooLarge(env, it.key, it.value); r.Code != protocol.CodeOK {
			return r
		}
		c := change{slot: e.look(it.key), value: it.value}
		switch op {
		case opPutAll:
			c.deadline = deadline(env, a.ttl, c.slot)
		case opAddAll:
			sum, code, why := add(c.slot, it.delta, a.bits)
			if code != protocol.CodeOK {
				return structures.Refuse(code, fmt.Sprintf("key %q: %s", it.key[1:], why))
			}
			c.value, c.deadline = appendInteger(sum), deadline(env, ttlKeep, c.slot)
			c.owner = c.slot.owner()
		}
		changes[i] = c
	}
	deleted := uint64(0)
	for _, c := range changes {
		switch {
		case op != opDeleteAll:
			e.put(c.slot, c.value, c.deadline, c.owner)
		case c.live:
			e.remove(c.slot)
			deleted++
		}
	}
	e.finish()
	if op == opDeleteAll {
		return structures.OK(appendUints(nil, deleted))
	}
	return structures.OK(nothing)
}

// clearSome removes the first entries from a key on.
func clearSome(env structures.Env, body []byte) structures.Result {
	r := protocol.NewReader(body)
	r.Array(1)
	from := r.Bytes()
	var slots []slot
	var next []byte
	rest := ascend(env, from, func(key []byte, row structures.Row) bool {
		if len(slots) == maxPart {
			next = key
			return false
		}
		slots = append(slots, slot{key: key, row: row, live: true})
		return true
	})
	e := edit{env: env}
	e.load()
	for _, s := range slots {
		e.remove(s)
	}
	e.finish()
	if next == nil {
		next = rest
	}
	return structures.OK(appendValue(next))
}
