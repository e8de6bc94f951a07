package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// Arrange puts the arguments of a command in the order that the parser reads
// without doubt: the command, its flags, "--", the rest. So a flag may stand
// between arguments, a negative number may be an argument or the value of a flag,
// and after "--" anything may be an argument.
func Arrange(root *kong.Node, args []string) []string {
	node := root
	var commands, flags, rest []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case passesThrough(node):
			return append(append(commands, flags...), append(rest, args[i:]...)...)
		case arg == "--":
			rest = append(rest, args[i+1:]...)
			i = len(args)
		case isFlag(arg):
			name, _, whole := strings.Cut(arg, "=")
			f := FindFlag(node, name)
			if f == nil && node.DefaultCmd != nil { // the command that is meant without its name
				node = node.DefaultCmd
				f = FindFlag(node, name)
			}
			if f == nil || f.IsBool() || whole || i+1 == len(args) {
				flags = append(flags, arg)
				continue
			}
			i++
			flags = append(flags, "--"+f.Name+"="+args[i])
		default:
			if c := FindCommand(node, arg); c != nil && len(rest) == 0 {
				node = c
				commands = append(commands, arg)
			} else {
				rest = append(rest, arg)
			}
		}
	}
	out := append(commands, flags...)
	if len(rest) > 0 {
		out = append(append(out, "--"), rest...)
	}
	return out
}

// isFlag reports whether an argument is a flag, with its value or without: not
// "-", which is a value, and not a negative number.
func isFlag(arg string) bool {
	return len(arg) > 1 && arg[0] == '-' && (arg[1] < '0' || arg[1] > '9') && arg[1] != '.'
}

// passesThrough reports whether all arguments of a command are somebody else's.
func passesThrough(node *kong.Node) bool {
	return len(node.Positional) > 0 && node.Positional[0].Passthrough
}

// Integer is an argument that is one, perhaps negative.
type Integer int64

// UnmarshalText reads an argument.
func (n *Integer) UnmarshalText(b []byte) error {
	v, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not an integer of 64 bits", b)
	}
	*n = Integer(v)
	return nil
}

func FindFlag(node *kong.Node, name string) *kong.Flag {
	for n := node; n != nil; n = n.Parent {
		for _, f := range n.Flags {
			if name == "--"+f.Name || f.Short != 0 && name == "-"+string(f.Short) {
				return f
			}
		}
	}
	return nil
}

func FindCommand(node *kong.Node, name string) *kong.Node {
	for _, c := range node.Children {
		if c.Type == kong.CommandNode && c.Name == name {
			return c
		}
	}
	return nil
}
