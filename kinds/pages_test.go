package kinds_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// TestPages: what stands in the pages between markers is what the kinds say. With
// -rewrite it is written, and a kind without a section gets one.
func TestPages(t *testing.T) {
	made := map[string]string{"codes": codesTable(), "generic": genericTable(), "control": controlTable(), "structures": structuresTable(), "transaction": transactionTable()}
	for _, k := range kinds.All() {
		made[k.Name] = kindTables(&k)
	}
	placed := map[string]bool{}
	for _, page := range []string{"protocol.md", "guarantees.md"} {
		file := filepath.Join(*docs, page)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got := string(text)
		if page == "protocol.md" {
			got = withSections(got)
		}
		want := marked.ReplaceAllStringFunc(got, func(part string) string {
			name := marked.FindStringSubmatch(part)[1]
			table, ok := made[name]
			if !ok {
				t.Errorf("%s: nothing is made under the marker %q", page, name)
			}
			placed[name] = true
			return opening(name) + table + closing
		})
		if *rewrite && want != string(text) {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if want != string(text) {
			t.Errorf("%s is not what the kinds say: go test ./kinds -rewrite\n%s", page, differs(string(text), want))
		}
	}
	for name := range made {
		if !placed[name] {
			t.Errorf("no page has the marker %q", opening(name))
		}
	}
}

var marked = regexp.MustCompile(`(?s)<!-- made from the kinds: ([a-z -]+) -->\n.*?<!-- end -->\n`)

const closing = "<!-- end -->\n"

func opening(name string) string { return "<!-- made from the kinds: " + name + " -->\n" }

// withSections adds, at the end of the section on structures, one for each kind that
// has none.
func withSections(page string) string {
	for _, k := range kinds.All() {
		if strings.Contains(page, opening(k.Name)) {
			continue
		}
		before, section, _ := strings.Cut(page, "\n## 7. Structures\n")
		section, after, more := strings.Cut(section, "\n## ")
		section = fmt.Sprintf("%s\n### %s (kind %d)\n\n%s.\n\n%s%s", section, upperFirst(k.Name), k.ID, k.Doc, opening(k.Name), closing)
		page = before + "\n## 7. Structures\n" + section
		if more {
			page += "\n## " + after
		}
	}
	return page
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// differs returns the first line in which two texts differ.
func differs(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range w {
		if i == len(g) || g[i] != w[i] {
			return fmt.Sprintf("line %d:\nhas   %s\nwants %s", i+1, strings.Join(g[i:min(i+1, len(g))], ""), w[i])
		}
	}
	return "lines follow the last"
}

func codesTable() string {
	var b strings.Builder
	b.WriteString("| code | name | class | meaning | the client |\n|---|---|---|---|---|\n")
	for _, c := range protocol.Codes() {
		fmt.Fprintf(&b, "| %d | `%s` | %s | %s | %s |\n", c.Code, c.Name, strings.ReplaceAll(c.Code.Class().String(), "_", " "), c.Meaning, c.Client)
	}
	fmt.Fprintf(&b, "| %d and above | | %s | the structure's own: section 7 | |\n", protocol.CodeKindBase, protocol.CodeKindBase.Class())
	return strings.ReplaceAll(b.String(), "|  |", "| |")
}

// marks are the letters before the names of operations.
func marks(o *structures.OpInfo) (letters string) {
	for _, m := range []struct {
		is     bool
		letter string
	}{{o.Read, "R "}, {o.Waits, "W "}, {o.Grows, "G "}, {o.Binds(), "H "}, {o.Admin, "A "}, {o.Txn, "T "}} {
		if m.is {
			letters += m.letter
		}
	}
	return letters
}

// routed says by what an operation is routed.
func routed(r structures.Route) string {
	switch by, first, every := r.Describe(); by {
	case "name":
		return "the name's"
	case "key":
		return fmt.Sprintf("the key's: item %d", first)
	case "keys":
		return fmt.Sprintf("the keys': items %d, %d, ...", first, first+every)
	}
	return "any"
}

func operationRow(b *strings.Builder, o *structures.OpInfo, columns ...string) {
	body, result := "`"+o.Body+"`", "`"+o.Result+"`"
	if o.Body == "" {
		body, result = "empty", "the call's" // of the control operations that act on a call
	}
	fmt.Fprintf(b, "| %d | %s%s | %s | %s", o.Op, marks(o), o.Name, body, result)
	for i, c := range o.Codes {
		b.WriteString([]string{"; ", ", "}[min(i, 1)])
		fmt.Fprintf(b, "%d", c)
	}
	for _, c := range columns {
		b.WriteString(strings.TrimSuffix(" | "+c, " "))
	}
	b.WriteString(" |\n")
}

func genericTable() string {
	var b strings.Builder
	b.WriteString("| op | | body | result | of kinds | partition, if without keys | if with keys |\n|---|---|---|---|---|---|---|\n")
	holding := structures.Kind{Ops: []structures.OpInfo{{Op: 1, Holds: true}}}
	keyed := structures.Kind{Keyed: true}
	both := structures.Kind{Keyed: true, Ops: holding.Ops}
	for _, o := range both.Generic() {
		of, plain := "all", ""
		if info := holding.Op(o.Op); info == nil {
			of = "with keys"
		} else {
			plain = routed(info.Route)
			if keyed.Op(o.Op) == nil {
				of = "with operations that hold"
			}
		}
		operationRow(&b, &o, of, plain, routed(o.Route))
	}
	b.WriteString("\nWhat names without a type are, here and in the operations of all kinds:\n\n")
	rulesTable(&b, structures.CommonRules())
	return b.String()
}

func rulesTable(b *strings.Builder, rules []structures.Rule) {
	b.WriteString("| name | type | |\n|---|---|---|\n")
	for _, r := range rules {
		fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", r.Name, r.Type, r.Help)
	}
}

func controlTable() string {
	control := structures.Control()
	var b strings.Builder
	b.WriteString("| op | | body | result |\n|---|---|---|---|\n")
	for _, o := range control.Ops {
		operationRow(&b, &o)
	}
	return b.String()
}

func transactionTable() string {
	transactions := structures.Transactions()
	var b strings.Builder
	b.WriteString("| op | | body | result |\n|---|---|---|---|\n")
	for _, o := range transactions.Ops {
		operationRow(&b, &o)
	}
	b.WriteByte('\n')
	rulesTable(&b, transactions.Rules)
	return b.String()
}

// kindTables are the operations, rules, codes and settings of a kind.
func kindTables(k *structures.Kind) string {
	var b strings.Builder
	if k.Keyed {
		b.WriteString("| op | | body | result | partition |\n|---|---|---|---|---|\n")
	} else {
		b.WriteString("| op | | body | result |\n|---|---|---|---|\n")
	}
	for _, o := range k.Ops {
		if k.Keyed {
			operationRow(&b, &o, routed(o.Route))
		} else {
			operationRow(&b, &o)
		}
	}
	if len(k.Rules) > 0 {
		b.WriteByte('\n')
		rulesTable(&b, k.Rules)
	}
	if len(k.Codes) > 0 {
		b.WriteString("\n| code | name | meaning |\n|---|---|---|\n")
		for _, c := range k.Codes {
			help := c.Help
			if c.Answer {
				help += "; an answer, which refuses no transaction"
			}
			fmt.Fprintf(&b, "| %d | `%s` | %s |\n", c.Code, c.Name, help)
		}
	}
	if tests := k.AllTests(); len(tests) > 0 {
		b.WriteString("\n| condition of a transaction | body | it holds if |\n|---|---|---|\n")
		for _, c := range tests {
			fmt.Fprintf(&b, "| %s | `%s` | %s |\n", c.Name, c.Body, c.Help)
		}
	}
	if len(k.Settings) > 0 {
		b.WriteString("\n| setting | type | default | |\n|---|---|---|---|\n")
		for _, s := range k.Settings {
			fmt.Fprintf(&b, "| `%s` | %v | %s | %s |\n", s.Name, s.Type, s.Format(s.Default), s.Help)
		}
	}
	return b.String()
}

// structuresTable is the table of docs/guarantees.md that says of each kind what its
// operations are to an application.
func structuresTable() string {
	var b strings.Builder
	b.WriteString("| structure | what it is | where | may wait | hands out what is held | refused while memory or disk is short | settings |\n|---|---|---|---|---|---|---|\n")
	for _, k := range kinds.All() {
		named := func(has func(o structures.OpInfo) bool) string {
			var names []string
			for _, o := range k.Ops {
				if has(o) {
					names = append(names, "`"+o.Name+"`")
				}
			}
			return strings.Join(names, ", ")
		}
		where := "whole, in the partition of its name"
		if k.Keyed {
			where = "by its keys in all partitions"
		}
		var settings []string
		for _, s := range k.Settings {
			settings = append(settings, "`"+s.Name+"`")
		}
		line := fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |\n", k.Name, k.Doc, where,
			named(func(o structures.OpInfo) bool { return o.Waits }), named(func(o structures.OpInfo) bool { return o.Holds }),
			named(func(o structures.OpInfo) bool { return o.Grows }), strings.Join(settings, ", "))
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(line, "|  |", "| |"), "|  |", "| |"))
	}
	return b.String()
}
