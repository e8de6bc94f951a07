package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
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
func (cmd *completionCommand) Run(a *cli.App) error {
	_, err := fmt.Fprint(a.Stdout, completionScripts[cmd.Shell])
	return err
}

// completionScripts hand the words up to the cursor to complete-words. Where it
// has no candidates, files are the shell's to complete. What ends with = goes on
// without a space.
var completionScripts = map[string]string{
	"bash": `# bash completion of quorate
_quorate() {
	local IFS=$'\n' rest=$COMP_LINE words=() n=-1 word before
	# Bash has made several words of what has = or : in it.
	for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
		if [[ $n == -1 || $rest == [[:space:]]* ]]; then
			rest=${rest#"${rest%%[![:space:]]*}"}
			n=$((n + 1))
			words[n]=
		fi
		before=${words[n]}
		words[n]+=$word
		rest=${rest#"$word"}
	done
	[[ $word == [=:] ]] && before+=$word
	COMPREPLY=($("${COMP_WORDS[0]}" complete-words -- "${words[@]:1}" 2>/dev/null | cut -f1))
	COMPREPLY=("${COMPREPLY[@]#"$before"}")
	if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then
		compopt -o nospace 2>/dev/null
	fi
}
complete -o bashdefault -o default -F _quorate quorate
`,
	"zsh": `#compdef quorate
_quorate() {
	local -a candidates open
	local line word
	for line in "${(@f)$(${words[1]} complete-words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
		[[ -n $line ]] || continue
		word=${line%%$'\t'*}
		if [[ $word == *= ]]; then
			open+=("${word//:/\\:}:${line#*$'\t'}")
		else
			candidates+=("${word//:/\\:}:${line#*$'\t'}")
		fi
	done
	if (( $#candidates || $#open )); then
		(( $#candidates )) && _describe quorate candidates
		(( $#open )) && _describe quorate open -S ''
		return 0
	fi
	_files
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
	set -l found (quorate complete-words -- $words[2..-1] "$last" 2>/dev/null)
	if test (count $found) -gt 0
		printf '%s\n' $found
	else
		__fish_complete_path "$last"
	end
end
complete -c quorate -f -a '(__quorate_candidates)'
`,
}

type completeWordsCommand struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run prints the candidates for the last word, each with a tab and what it is.
func (cmd *completeWordsCommand) Run(ctx context.Context, parsed *kong.Context, a *cli.App) error {
	words := cmd.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, c := range candidates(ctx, parsed.Model.Node, words) {
		if _, err := fmt.Fprintf(a.Stdout, "%s\t%s\n", c.word, c.help); err != nil {
			return err
		}
	}
	return nil
}

type candidate struct{ word, help string }

// candidates returns what may stand for the last of the words, which may be
// empty. For what the grid alone knows it asks the grid.
func candidates(ctx context.Context, root *kong.Node, words []string) []candidate {
	if len(words) == 0 {
		words = []string{""}
	}
	before, last := words[:len(words)-1], words[len(words)-1]
	node, flag := root, (*kong.Flag)(nil)
	var arguments []string
	flags := map[string]string{}
	for _, w := range before {
		switch {
		case flag != nil:
			flags[flag.Name] = w
			flag = nil
		case w == "--":
			return nil // a command of somebody else's
		case strings.HasPrefix(w, "-") && w != "-":
			name, value, inline := strings.Cut(w, "=")
			if f := cli.FindFlag(node, name); f != nil && inline {
				flags[f.Name] = value
			} else if f != nil && !f.IsBool() {
				flag = f
			}
		default:
			if c := cli.FindCommand(node, w); c != nil {
				node, arguments = c, nil
			} else {
				arguments = append(arguments, w)
			}
		}
	}
	var all []candidate
	add := func(word, help string) {
		if strings.HasPrefix(word, last) {
			all = append(all, candidate{word, firstSentence(help)})
		}
	}
	name, _, inline := strings.Cut(last, "=")
	if inline = inline && strings.HasPrefix(last, "-"); inline {
		flag = cli.FindFlag(node, name)
	}
	switch {
	case flag != nil:
		for _, v := range flag.EnumSlice() {
			switch {
			case v == "":
			case inline:
				add(name+"="+v, flag.Help)
			default:
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
		if p := argument(node, len(arguments)); p != nil {
			for _, v := range p.EnumSlice() {
				if v != "" {
					add(v, p.Help)
				}
			}
			s := &structureWords{command: node, given: arguments, last: last, add: add}
			s.connect(flags)
			s.complete(ctx, p.Name)
		}
	}
	return all
}

// argument returns the i-th argument of a command, nil if it has fewer.
func argument(node *kong.Node, i int) *kong.Positional {
	n := len(node.Positional)
	switch {
	case i < n:
		return node.Positional[i]
	case n > 0 && node.Positional[n-1].IsCumulative():
		return node.Positional[n-1]
	}
	return nil
}

func firstSentence(s string) string {
	s, _, _ = strings.Cut(s, ". ")
	s, _, _ = strings.Cut(s, "\n")
	return strings.TrimSuffix(s, ".")
}
