package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is the long help of the command.
func (completionCommand) Help() string {
	return `The script asks this binary for what may come next, so that it is right for every later version, too.

  source <(quorate completion bash)                                  for this shell
  quorate completion bash > /etc/bash_completion.d/quorate           for all
  quorate completion zsh > "${fpath[1]}/_quorate"
  quorate completion fish > ~/.config/fish/completions/quorate.fish`
}

// Run runs the command.
func (cmd *completionCommand) Run(a *app) error {
	_, err := fmt.Fprint(a.stdout, completionScripts[cmd.Shell])
	return err
}

// completionScripts hand the words up to the cursor to complete-words. Where it
// has no candidates, files are the shell's to complete.
var completionScripts = map[string]string{
	"bash": `# bash completion of quorate
_quorate() {
	local IFS=$'\n'
	COMPREPLY=($("${COMP_WORDS[0]}" complete-words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o bashdefault -o default -F _quorate quorate
`,
	"zsh": `#compdef quorate
_quorate() {
	local -a candidates
	local line
	for line in "${(@f)$(${words[1]} complete-words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
		[[ -n $line ]] && candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
	done
	if (( $#candidates )); then
		_describe quorate candidates
	else
		_files
	fi
}
if [[ $funcstack[1] == _quorate ]]; then
	_quorate
else
	compdef _quorate quorate
fi
`,
	"fish": `# fish completion of quorate
function __quorate_candidates
	set -l words (commandline -opc)
	set -l last (commandline -ct)
	quorate complete-words -- $words[2..-1] "$last" 2>/dev/null
end
complete -c quorate -a '(__quorate_candidates)'
`,
}

type completeWordsCommand struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run prints the candidates for the last word, each with a tab and what it is.
func (cmd *completeWordsCommand) Run(parsed *kong.Context, a *app) error {
	words := cmd.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, c := range candidates(parsed.Model.Node, words) {
		if _, err := fmt.Fprintf(a.stdout, "%s\t%s\n", c.word, c.help); err != nil {
			return err
		}
	}
	return nil
}

type candidate struct{ word, help string }

// candidates returns what may stand for the last of the words, which may be
// empty.
func candidates(root *kong.Node, words []string) []candidate {
	if len(words) == 0 {
		words = []string{""}
	}
	before, last := words[:len(words)-1], words[len(words)-1]
	// Bash makes three words of --flag=value.
	if last == "=" {
		before, last = append(before[:len(before):len(before)], "="), ""
	}
	node, flag, position := root, (*kong.Flag)(nil), 0
	for _, w := range before {
		switch {
		case w == "=" && flag != nil:
		case flag != nil:
			flag = nil // its value
		case w == "--":
			return nil // a command of somebody else's
		case strings.HasPrefix(w, "-") && w != "-":
			name, _, inline := strings.Cut(w, "=")
			if f := findFlag(node, name); f != nil && !f.IsBool() && !inline {
				flag = f
			}
		default:
			if c := findCommand(node, w); c != nil {
				node, position = c, 0
			} else {
				position++
			}
		}
	}
	var all []candidate
	add := func(word, help string) {
		if strings.HasPrefix(word, last) {
			all = append(all, candidate{word, firstSentence(help)})
		}
	}
	switch {
	case flag != nil:
		for _, v := range flag.EnumSlice() {
			if v != "" {
				add(v, flag.Help)
			}
		}
	case strings.HasPrefix(last, "-"):
		for n := node; n != nil; n = n.Parent {
			for _, f := range n.Flags {
				if !f.Hidden {
					add("--"+f.Name, f.Help)
				}
			}
		}
	default:
		for _, c := range node.Children {
			if c.Type == kong.CommandNode && !c.Hidden {
				add(c.Name, c.Help)
			}
		}
		if position < len(node.Positional) {
			for _, v := range node.Positional[position].EnumSlice() {
				add(v, node.Positional[position].Help)
			}
		}
	}
	return all
}

func findFlag(node *kong.Node, name string) *kong.Flag {
	for n := node; n != nil; n = n.Parent {
		for _, f := range n.Flags {
			if name == "--"+f.Name || f.Short != 0 && name == "-"+string(f.Short) {
				return f
			}
		}
	}
	return nil
}

func findCommand(node *kong.Node, name string) *kong.Node {
	for _, c := range node.Children {
		if c.Type == kong.CommandNode && c.Name == name {
			return c
		}
	}
	return nil
}

func firstSentence(s string) string {
	s, _, _ = strings.Cut(s, ". ")
	s, _, _ = strings.Cut(s, "\n")
	return strings.TrimSuffix(s, ".")
}
