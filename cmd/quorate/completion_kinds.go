package main

import (
	"cmp"
	"context"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/alecthomas/kong"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	structurecmd "github.com/quorate/quorate/cmd/quorate/internal/structures"
	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/structures"
)

const (
	completionTimeout = time.Second // somebody waits for it
	completionNames   = 100         // of each partition, at most
)

// structureWords completes the arguments that name kinds of structures, structures
// and settings: what kinds say, and what a grid has.
type structureWords struct {
	cli.Connection
	command *kong.Node
	given   []string // the arguments before
	last    string   // what there is of the one to complete
	add     func(word, help string)
}

// connect finds the grid as the command will: by flags, the environment, defaults.
func (s *structureWords) connect(flags map[string]string) {
	value := func(name string) string {
		f := cli.FindFlag(s.command, "--"+name)
		if f == nil {
			return ""
		}
		v := flags[name]
		for _, env := range f.Envs {
			v = cmp.Or(v, os.Getenv(env))
		}
		return cmp.Or(v, f.Default)
	}
	s.Endpoints = strings.Split(value("endpoints"), ",")
	s.Forward = value("forward") == "true" || value("forward") == "1"
	s.Cluster, s.Timeout = value("cluster"), completionTimeout
}

// complete adds the words for an argument of a name.
func (s *structureWords) complete(ctx context.Context, argument string) {
	switch argument {
	case "kind":
		s.addKinds(ctx)
	case "name":
		if k, ok := s.kindOf(ctx); ok {
			s.addNames(ctx, &k)
		}
	case structurecmd.SettingArgument:
		if k, ok := s.kindOf(ctx); ok {
			s.addSettings(&k)
		}
	}
}

// addKinds adds the kinds that this command knows. Where none of them is meant the
// grid may know another.
func (s *structureWords) addKinds(ctx context.Context) {
	all := kinds.All()
	meant := func(k structures.Kind) bool { return strings.HasPrefix(k.Name, s.last) }
	if !slices.ContainsFunc(all, meant) {
		later, _ := structurecmd.LaterKinds(ctx, &s.Connection) // no candidates are no error
		all = append(all, later...)
	}
	for _, k := range all {
		s.add(k.Name, k.Doc)
	}
}

// kindOf returns the kind of the structure that the command is about: that of its
// family, or its first argument.
func (s *structureWords) kindOf(ctx context.Context) (structures.Kind, bool) {
	if k, ok := kinds.Named(s.command.Parent.Name); ok {
		return k, true
	}
	if len(s.given) == 0 {
		return structures.Kind{}, false
	}
	k, err := structurecmd.KindNamed(ctx, &s.Connection, s.given[0])
	return k, err == nil
}

// addNames adds the structures of a kind that the grid has.
func (s *structureWords) addNames(ctx context.Context, k *structures.Kind) {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	_ = s.With(ctx, func(c *client.Client) error { // no candidates are no error
		parts, err := structurecmd.PartsOf(ctx, c, k, s.last, completionNames)
		var names []string
		for _, p := range parts {
			if plainWord(p.Name) {
				names = append(names, p.Name)
			}
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			s.add(name, "a "+k.Name)
		}
		return err
	})
}

// plainWord reports whether every shell takes a word as it is.
func plainWord(s string) bool {
	return s != "" && !strings.ContainsAny(s[:1], "-=") && strings.IndexFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.:@%+/={}", r)
	}) < 0
}

// addSettings adds the settings that are not given yet.
func (s *structureWords) addSettings(k *structures.Kind) {
	for _, info := range k.Settings {
		word := info.Name + "="
		if !slices.ContainsFunc(s.given, func(arg string) bool { return strings.HasPrefix(arg, word) }) {
			s.add(word, info.Help)
		}
	}
}
