package member

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/internal/nearest"
)

const variablePrefix = "QUORATE_"

// noSetting are flags of start that a file cannot set: they say what to do now.
var noSetting = map[string]bool{"config": true, "print-config": true, "check": true, "help": true}

// settings are where start takes what its flags do not say: the environment,
// else a file. It is kong's resolver, so that all values are read alike.
type settings struct {
	file   string // empty: none
	layers *koanf.Koanf
	byFile map[string]bool
	byEnv  map[string]bool
}

// BeforeResolve reads the file, if one is named, for the flags that are not on
// the command line.
func (cmd *StartCommand) BeforeResolve(ctx *kong.Context) error {
	node := ctx.Selected()
	flags := SettingFlags(node)
	file := os.Getenv("QUORATE_CONFIG")
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			file = ctx.FlagValue(p.Flag).(string)
		}
	}
	s, err := LoadSettings(file, flags, os.Environ())
	if err != nil {
		return &cli.ExitError{Code: cli.ExitUsage, Err: err}
	}
	ctx.AddResolver(s)
	cmd.settings = s
	return nil
}

// SettingFlags returns the flags of start that are settings, by name.
func SettingFlags(start *kong.Node) map[string]*kong.Flag {
	flags := map[string]*kong.Flag{}
	for _, f := range start.Flags {
		if !noSetting[f.Name] && !f.Hidden {
			flags[f.Name] = f
		}
	}
	return flags
}

// LoadSettings reads a file, if one is named, and the environment, which takes
// precedence.
func LoadSettings(file string, flags map[string]*kong.Flag, environ []string) (*settings, error) {
	s := &settings{file: file, layers: koanf.New("."), byFile: map[string]bool{}, byEnv: map[string]bool{}}
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--config: %w", err)
		}
		if err := s.layers.Load(content(b), yaml.Parser()); err != nil {
			return nil, fmt.Errorf("--config %s: %w", file, err)
		}
		var problems []error
		all := s.layers.Raw()
		for _, key := range sortedNames(all) {
			s.byFile[key] = true
			if err := checkKey(key, all[key], flags); err != nil {
				problems = append(problems, fmt.Errorf("--config %s: %w", file, err))
			}
		}
		if len(problems) > 0 {
			return nil, errors.Join(problems...)
		}
	}
	variables := map[string]string{}
	for name, f := range flags {
		for _, v := range f.Envs {
			variables[v] = name
		}
	}
	err := s.layers.Load(env.Provider(".", env.Opt{
		Prefix: variablePrefix, EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			key := variables[name]
			s.byEnv[key] = true
			return key, value // an empty key: not a setting
		},
	}), nil)
	if err != nil {
		return nil, fmt.Errorf("environment: %w", err)
	}
	return s, nil
}

// content is a file that was read, as koanf wants it.
type content []byte

func (c content) ReadBytes() ([]byte, error)    { return c, nil }
func (c content) Read() (map[string]any, error) { return nil, errors.ErrUnsupported }

// checkKey says what is wrong with a key of a file.
func checkKey(key string, value any, flags map[string]*kong.Flag) error {
	f := flags[key]
	if f == nil {
		if near := nearest.Name(key, sortedNames(flags)); near != "" {
			return fmt.Errorf("unknown setting %q: did you mean %q?", key, near)
		}
		return fmt.Errorf("unknown setting %q: there are %s", key, strings.Join(sortedNames(flags), ", "))
	}
	text, err := settingText(value, f)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	target := reflect.New(f.Target.Type()).Elem()
	if err := f.Parse(kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: text}), target); err != nil {
		return fmt.Errorf("%s: %s", key, strings.TrimPrefix(err.Error(), "--"+key+": "))
	}
	if f.Enum != "" && !slices.Contains(f.EnumSlice(), text) {
		return fmt.Errorf("%s: %q is not one of %s", key, text, strings.Trim(strings.Join(f.EnumSlice(), ", "), " ,"))
	}
	return nil
}

// settingText returns a value as the command line would say it.
func settingText(value any, f *kong.Flag) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case []any:
		var parts []string
		for _, x := range v {
			part, ok := x.(string)
			if !ok || f.Target.Kind() != reflect.Slice {
				return "", fmt.Errorf("%v is not what it takes", value)
			}
			parts = append(parts, part)
		}
		return strings.Join(parts, ","), nil
	case nil, map[string]any:
		return "", errors.New("it takes a value")
	default:
		if f.Target.Kind() == reflect.String {
			return "", fmt.Errorf("%v is not text: write it in quotes", value)
		}
		return fmt.Sprint(v), nil
	}
}

// Validate implements kong.Resolver.
func (s *settings) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver: it is asked for flags that are not on the
// command line.
func (s *settings) Resolve(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
	if noSetting[f.Name] || !s.layers.Exists(f.Name) {
		return nil, nil
	}
	return settingText(s.layers.Get(f.Name), f)
}

// source says where the value of a setting comes from.
func (s *settings) source(ctx *kong.Context, f *kong.Flag) string {
	for _, p := range ctx.Path {
		if p.Flag == f && !p.Resolved {
			return "flag"
		}
	}
	switch {
	case s.byEnv[f.Name]:
		return f.Envs[0]
	case s.byFile[f.Name]:
		return s.file
	default:
		return "default"
	}
}

// decided are the settings that a cluster has decided when it was founded, and what it
// decides if it is founded by a member that does not say.
var decided = map[string]int{"groups": grid.DefaultGroups, "replicas": grid.DefaultReplicas}

// printConfig prints the configuration in force, as a file that --config reads,
// and where each value is from. What the cluster decides is a comment: a member that is
// given a value of its own may be refused for it.
func (cmd *StartCommand) printConfig(ctx *kong.Context, a *cli.App) error {
	cfg := cmd.config(a.Stderr)
	flags := SettingFlags(ctx.Selected())
	var b strings.Builder
	for _, name := range sortedNames(flags) {
		f := flags[name]
		value := f.Target.Interface()
		switch name {
		case "name":
			value = cfg.EffectiveName()
		case "data-dir":
			value = cfg.DataDir
		case "history-bytes":
			value = cmp.Or(cfg.HistoryBytes, grid.DefaultHistoryBytes)
		}
		if n, ok := decided[name]; ok && value == 0 {
			fmt.Fprintf(&b, "# %s: what the cluster has, %d in a new one  # %s\n", name, n, cmd.settings.source(ctx, f))
			continue
		}
		fmt.Fprintf(&b, "%s: %s  # %s\n", name, yamlValue(value), cmd.settings.source(ctx, f))
	}
	_, err := fmt.Fprint(a.Stdout, b.String())
	return err
}

// yamlValue writes a value as YAML that JSON is, too.
func yamlValue(v any) string {
	switch v := v.(type) {
	case bool, int, float64:
		return fmt.Sprint(v)
	case []string:
		if v == nil {
			v = []string{}
		}
		b, _ := json.Marshal(v) // strings can be encoded
		return string(b)
	default:
		b, _ := json.Marshal(fmt.Sprint(v))
		return string(b)
	}
}

func sortedNames[T any](m map[string]T) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, cmp.Compare)
	return names
}

// UnknownVariable is a variable of the environment that nothing reads.
type UnknownVariable struct{ Name, Near string }

// UnknownVariables returns the QUORATE_ variables of env that nothing reads.
// Those that Kubernetes makes for a Service called quorate are known: they are
// addresses, not settings.
func UnknownVariables(env []string) []UnknownVariable {
	known := map[string]bool{"QUORATE_ENDPOINTS": true, "QUORATE_FORWARD": true, "QUORATE_TOKEN": true}
	settings := map[string]bool{} // as flags are written
	for _, f := range reflect.VisibleFields(reflect.TypeFor[StartCommand]()) {
		if name := f.Tag.Get("env"); name != "" {
			known[name] = true
			settings[strings.ToLower(strings.ReplaceAll(name[len(variablePrefix):], "_", "-"))] = true
		}
	}
	var unknown []UnknownVariable
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, variablePrefix) || known[name] || name == "QUORATE_PORT" ||
			strings.HasPrefix(name, "QUORATE_PORT_") || strings.HasPrefix(name, "QUORATE_SERVICE_") {
			continue
		}
		u := UnknownVariable{Name: name}
		if n := nearest.Name(name[len(variablePrefix):], sortedNames(settings)); n != "" {
			u.Near = variablePrefix + strings.ToUpper(strings.ReplaceAll(n, "-", "_"))
		}
		unknown = append(unknown, u)
	}
	return unknown
}
