package structures

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/structures"
)

// SettingArgument is the name of the argument that is a setting.
const SettingArgument = "key=value"

type ConfigureCommand struct {
	structure
	Settings []string `arg:"" optional:"" name:"key=value" help:"The settings to agree, each as key=value; those not given are at their defaults."`
}

// Help is the long help of the command.
func (ConfigureCommand) Help() string {
	return `The settings of a structure are agreed once, also before it holds anything: the same again is done at once, others are refused with those in force (exit status 1), until the structure is destroyed. A duration is written as 1h30m, 90s or 500ms. Without key=value the settings in force are printed, with their defaults.

  quorate configure queue jobs capacity=1000
  quorate configure map sessions ttl=30m
  quorate configure map sessions`
}

// Run runs the command.
func (cmd *ConfigureCommand) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(_ *client.Client, k *structures.Kind, h *structures.Handle) error {
		if len(cmd.Settings) == 0 {
			return cmd.show(ctx, a, k, h)
		}
		list, err := parseSettings(k, cmd.Settings)
		if err != nil {
			return &cli.ExitError{Code: cli.ExitUsage, Err: fmt.Errorf("configure %s: %w", h.Object(), err)}
		}
		if err := h.Configure(ctx, list...); err != nil {
			return err
		}
		agreed := structures.Settings{List: list}
		return a.Print("", cli.Object{"kind": cmd.Kind, "name": cmd.Name, "settings": settingsObject(k, k.InForce(&agreed))})
	})
}

// show prints the settings in force.
func (cmd *ConfigureCommand) show(ctx context.Context, a *cli.App, k *structures.Kind, h *structures.Handle) error {
	list, version, err := h.Settings(ctx)
	if err != nil {
		return err
	}
	if a.JSON {
		return a.Print("", cli.Object{"kind": cmd.Kind, "name": cmd.Name, "agreed": version != 0, "settings": settingsObject(k, list)})
	}
	switch {
	case len(list) == 0:
		a.Note("quorate: the kind %s has no settings", k.Name)
	case version == 0:
		a.Note("quorate: nothing was agreed: the defaults are in force")
	}
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	writeSettings(t, k, list)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return nil
}

// writeSettings writes a table of settings.
func writeSettings(t *tabwriter.Writer, k *structures.Kind, list []structures.Setting) {
	if len(list) > 0 {
		fmt.Fprintln(t, "SETTING\tVALUE\tDEFAULT\t")
	}
	for _, set := range list {
		if info := k.Setting(set.Name); info != nil {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", set.Name, lineOfSetting(info, set.Value), lineOfSetting(info, info.Default), info.Help)
		} else { // a later version's
			fmt.Fprintf(t, "%s\t%v\t\t\n", set.Name, settingForm(nil, set.Value))
		}
	}
}

// lineOfSetting returns the value of a setting as configure takes it, on a line.
func lineOfSetting(info *structures.SettingInfo, v structures.SettingValue) string {
	if v.IsText {
		return cli.LineOf(v.Text)
	}
	return info.Format(v)
}

// settingsObject returns settings as JSON has them: durations as configure takes them.
func settingsObject(k *structures.Kind, list []structures.Setting) cli.Object {
	o := cli.Object{}
	for _, set := range list {
		o[set.Name] = settingForm(k.Setting(set.Name), set.Value)
	}
	return o
}

func settingForm(info *structures.SettingInfo, v structures.SettingValue) any {
	switch {
	case v.IsText:
		return v.Text
	case info != nil && info.Type == structures.SettingDuration:
		return info.Format(v)
	}
	return v.Int
}

// parseSettings reads arguments key=value.
func parseSettings(k *structures.Kind, args []string) ([]structures.Setting, error) {
	var list []structures.Setting
	given := map[string]bool{}
	for _, arg := range args {
		name, text, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not key=value", arg)
		}
		info := k.Setting(name)
		if info == nil {
			return nil, k.UnknownSetting(name)
		}
		if given[name] {
			return nil, fmt.Errorf("the setting %s is given twice", name)
		}
		given[name] = true
		v, err := info.Parse(text)
		if err != nil {
			return nil, err
		}
		list = append(list, structures.Setting{Name: name, Value: v})
	}
	return list, nil
}
