package structures

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/child"
	"github.com/quorate/quorate/structures/dservice"
)

type ServiceCommands struct {
	Register   serviceRegister   `cmd:"" help:"Register an instance, while a command runs or until a signal."`
	List       serviceList       `cmd:"" help:"List the instances of a service, or all services."`
	Watch      serviceWatch      `cmd:"" help:"Print the instances of a service, and what changes."`
	Resolve    serviceResolve    `cmd:"" help:"Print where an instance can be reached."`
	Drain      serviceDrain      `cmd:"" help:"Take an instance out of use, until undrain."`
	Undrain    serviceUndrain    `cmd:"" help:"Take a drained instance into use again."`
	Deregister serviceDeregister `cmd:"" help:"Remove an instance."`
}

// Help is the long help of the family.
func (ServiceCommands) Help() string {
	return `  quorate service register web --port 8000 -- python3 -m http.server 8000
  quorate service register db --port 5432 --check-tcp localhost:5432
  curl "http://$(quorate service resolve web)/"
  quorate service watch web -- ./reload-proxy
  quorate service drain web host-a --reason 'new disks'

An instance is registered for as long as the process of register lives, and gone when the grid has not heard from it for --ttl. Its checks run there, too; no member dials it. Of two that register one ID the later one stays.

resolve prints address:port of an instance that is passing, or warning if none is; never of one that is critical or drained. Exit status: 1 if there is none.`
}

// serviceName names a service, on a grid.
type serviceName struct {
	cli.Connection
	Name string `arg:"" help:"The service."`
}

// with runs f with the service.
func (cmd *serviceName) with(ctx context.Context, f func(*dservice.Service) error) error {
	return cmd.Connection.With(ctx, func(c *client.Client) error { return f(dservice.New(c, cmd.Name)) })
}

type serviceRegister struct {
	serviceName
	Port           int               `help:"Where the instance listens." placeholder:"P"`
	Address        string            `help:"Its address; that of this machine towards the grid if left out." placeholder:"HOST"`
	Tag            []string          `help:"A tag, for those who look for instances of a kind; may be repeated." placeholder:"TAG"`
	Meta           map[string]string `help:"Anything else, as a name with a value; may be repeated." placeholder:"KEY=VALUE"`
	CheckHTTP      string            `name:"check-http" help:"It is passing if this answers with status 200 to 299, warning with 429." placeholder:"URL" xor:"check"`
	CheckTCP       string            `name:"check-tcp" help:"It is passing if this takes connections." placeholder:"HOST:PORT" xor:"check"`
	CheckCmd       string            `name:"check-cmd" help:"It is passing if the shell runs this with status 0, warning with 1." placeholder:"LINE" xor:"check"`
	CheckEvery     time.Duration     `help:"How often the check runs." default:"2s" placeholder:"D"`
	RemoveCritical time.Duration     `help:"Remove it when it was critical for D." placeholder:"D"`
	registering
}

// Help is the long help of the command.
func (serviceRegister) Help() string {
	return `COMMAND runs while the instance is registered, and sees QUORATE_NAME and QUORATE_ID. A signal is passed to it, and takes the registration back at once. Exit status: that of COMMAND, 128 and the number for a signal; 125 if it could not be registered; 126 or 127 if COMMAND cannot be run or found.

Without COMMAND the ID is printed, and the instance is registered until SIGINT, SIGTERM or SIGHUP; with 1 the command ends if another process has registered the ID, or somebody has removed it.`
}

// checkFlags refuses a check that could never pass.
func (cmd *serviceRegister) checkFlags() error {
	usage := func(format string, args ...any) error {
		return &cli.ExitError{Code: cli.ExitUsage, Err: fmt.Errorf(format, args...)}
	}
	if cmd.CheckHTTP != "" {
		u, err := url.Parse(cmd.CheckHTTP)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return usage("--check-http=%s: want a URL, such as http://localhost:8080/health", cmd.CheckHTTP)
		}
	}
	if cmd.CheckTCP != "" {
		if _, port, err := net.SplitHostPort(cmd.CheckTCP); err != nil || port == "" {
			return usage("--check-tcp=%s: want HOST:PORT", cmd.CheckTCP)
		}
	}
	return nil
}

// Run runs the command.
func (cmd *serviceRegister) Run(ctx context.Context, a *cli.App) error {
	if err := cmd.checkFlags(); err != nil {
		return err
	}
	in := dservice.Instance{ID: cmd.ID, Address: cmd.Address, Port: cmd.Port, Tags: cmd.Tag, Meta: cmd.Meta}
	if in.ID == "" {
		in.ID = hostName()
		if cmd.Port != 0 {
			in.ID = fmt.Sprintf("%s-%d", in.ID, cmd.Port)
		}
	}
	if in.Address == "" {
		in.Address = ownAddress(cmd.Endpoints)
	}
	var opts []dservice.RegisterOption
	if check := cmd.check(a); check != nil {
		opts = append(opts, dservice.Check(check, cmd.CheckEvery))
	}
	if cmd.RemoveCritical != 0 {
		opts = append(opts, dservice.RemoveCritical(cmd.RemoveCritical))
	}
	return cmd.registering.run(ctx, a, &cmd.Connection, "service", cmd.Name, func(ctx context.Context, c *client.Client) (registration, func(context.Context) error, error) {
		reg, err := dservice.New(c, cmd.Name).Register(ctx, in, opts...)
		if err != nil {
			return nil, nil, err
		}
		return reg, reg.Deregister, nil
	})
}

// check returns the check that the flags ask for; nil: none.
func (cmd *serviceRegister) check(a *cli.App) func(context.Context) error {
	switch {
	case cmd.CheckHTTP != "":
		return func(ctx context.Context) error { return checkHTTP(ctx, cmd.CheckHTTP) }
	case cmd.CheckTCP != "":
		return func(ctx context.Context) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", cmd.CheckTCP)
			if err == nil {
				err = conn.Close()
			}
			return err
		}
	case cmd.CheckCmd != "":
		return func(ctx context.Context) error { return checkCommand(ctx, a, cmd.CheckCmd) }
	}
	return nil
}

func checkHTTP(ctx context.Context, address string) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	_, _ = io.CopyN(io.Discard, r.Body, 64<<10) // so that the connection can be used again
	switch {
	case r.StatusCode >= 200 && r.StatusCode < 300:
		return nil
	case r.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s", dservice.ErrWarning, r.Status)
	}
	return errors.New(r.Status)
}

func checkCommand(ctx context.Context, a *cli.App, line string) error {
	cmd := child.Shell(line)
	cmd.Stderr = a.Stderr
	switch status, err := child.Run(ctx, cmd, time.Second); {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("not done in time: %s", line)
	case status == 1:
		return fmt.Errorf("%w: status 1: %s", dservice.ErrWarning, line)
	case status != 0:
		return fmt.Errorf("status %d: %s", status, line)
	}
	return nil
}

// serviceObject is an instance as JSON has it.
func serviceObject(name string, e *dservice.Entry) cli.Object {
	o := cli.Object{
		"service": name, "id": e.ID, "address": e.Address, "port": e.Port, "health": e.Health.String(), "drained": e.Drained,
		"permanent": e.Permanent, "version": uint64(e.Version),
	}
	for key, value := range map[string]string{"note": e.Note, "reason": e.Reason} {
		if value != "" {
			o[key] = value
		}
	}
	if len(e.Tags) > 0 {
		o["tags"] = e.Tags
	}
	if len(e.Meta) > 0 {
		o["meta"] = e.Meta
	}
	if e.Session != 0 {
		o["session"] = uint64(e.Session)
	}
	if e.For > 0 {
		o["for_ms"] = e.For.Milliseconds()
	}
	return o
}

// stateOf says what is to be known of an instance's state in a word or two.
func stateOf(e *dservice.Entry) string {
	if e.Drained {
		return "drained, " + e.Health.String()
	}
	return e.Health.String()
}

// remarkOf says why.
func remarkOf(e *dservice.Entry) string { return words("; ", e.Reason, e.Note) }

// extrasOf are the tags and metadata of an instance.
func extrasOf(e *dservice.Entry) string {
	all := slices.Clone(e.Tags)
	for _, key := range slices.Sorted(maps.Keys(e.Meta)) {
		all = append(all, key+"="+e.Meta[key])
	}
	return strings.Join(all, ",")
}

type serviceList struct {
	cli.Connection
	Name  string `arg:"" optional:"" help:"The service; all services if left out."`
	Tag   string `help:"Only instances that have the tag." placeholder:"TAG"`
	Up    bool   `help:"Only instances for use: neither critical nor drained."`
	Stale bool   `help:"Any member may answer, from an older state."`
}

// Run runs the command.
func (cmd *serviceList) Run(ctx context.Context, a *cli.App) error {
	return cmd.Connection.With(ctx, func(c *client.Client) error {
		if cmd.Name == "" {
			return cmd.all(ctx, a, c)
		}
		list, unread, err := cmd.of(ctx, c, cmd.Name)
		if err != nil {
			return err
		}
		if len(list) == 0 && unread == nil {
			return cli.No(fmt.Errorf("service %s has no such instance", cmd.Name))
		}
		t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
		header := "ID\tADDRESS\tSTATE\tFOR\tTAGS\tNOTE\n"
		for i := range list {
			e := &list[i]
			if a.JSON {
				if err := a.Print("", serviceObject(cmd.Name, e)); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(t, "%s%s\t%s\t%s\t%v\t%s\t%s\n", header, cli.LineOf(e.ID), dash(e.HostPort()), stateOf(e),
				e.For.Round(time.Second), dash(extrasOf(e)), dash(remarkOf(e)))
			header = ""
		}
		return cmp.Or(t.Flush(), unread)
	})
}

// of lists the instances of a service. unread is the error of those that cannot be decoded.
func (cmd *serviceList) of(ctx context.Context, c *client.Client, name string) (list []dservice.Entry, unread, err error) {
	opts := []dservice.ListOption{dservice.Tag(cmd.Tag)}
	if !cmd.Up {
		opts = append(opts, dservice.AnyHealth())
	}
	if cmd.Stale {
		opts = append(opts, dservice.Stale())
	}
	list, _, err = dservice.New(c, name).List(ctx, opts...)
	if errors.Is(err, quorate.ErrCodec) {
		return list, err, nil
	}
	return list, nil, err
}

// all lists the services, and how many of their instances are in which state.
func (cmd *serviceList) all(ctx context.Context, a *cli.App, c *client.Client) error {
	names, err := dservice.Names(ctx, c)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	header := "SERVICE\tINSTANCES\tPASSING\tWARNING\tCRITICAL\tDRAINED\n"
	var unread error // of the first instance that cannot be decoded: those are not counted
	for _, name := range names {
		list, bad, err := cmd.of(ctx, c, name)
		if err != nil {
			return err
		}
		unread = cmp.Or(unread, bad)
		var health [3]int
		drained := 0
		for i := range list {
			if list[i].Drained {
				drained++
			} else if h := int(list[i].Health); h < len(health) {
				health[h]++
			}
		}
		if a.JSON {
			if err := a.Print("", cli.Object{
				"service": name, "instances": len(list), "passing": health[0], "warning": health[1], "critical": health[2], "drained": drained,
			}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(t, "%s%s\t%d\t%d\t%d\t%d\t%d\n", header, cli.LineOf(name), len(list), health[0], health[1], health[2], drained)
		header = ""
	}
	return cmp.Or(t.Flush(), unread)
}

type serviceWatch struct {
	serviceName
	onEvent
}

// Help is the long help of the command.
func (serviceWatch) Help() string {
	return `The instances that are there come first, as current, then synced, and then what changes: put, removed, expired, ended. Where changes are missing there is a gap, and then all instances come again.

COMMAND runs once for each line, one at a time, with QUORATE_EVENT, QUORATE_ID, QUORATE_ADDRESS, QUORATE_STATE and QUORATE_VERSION.`
}

// Run runs the command.
func (cmd *serviceWatch) Run(ctx context.Context, a *cli.App) error {
	path, err := cmd.look()
	if err != nil {
		return err
	}
	return cmd.with(ctx, func(s *dservice.Service) error {
		n := 0
		for c, err := range s.Watch(ctx, dservice.WithCurrent()) {
			if err != nil {
				if ctx.Err() != nil { // a signal
					return nil
				}
				return err
			}
			if err := cmd.take(ctx, a, path, &c); err != nil || cmd.full(&n) {
				return err
			}
		}
		return nil
	})
}

// take prints a change, or runs COMMAND with it.
func (cmd *serviceWatch) take(ctx context.Context, a *cli.App, path string, c *dservice.Change) error {
	e := &c.Entry
	o := cli.Object{"event": c.Type.String()}
	line := []string{c.Type.String()}
	env := []string{"QUORATE_NAME=" + cmd.Name, "QUORATE_EVENT=" + c.Type.String()}
	if e.ID != "" {
		o["service"], o["id"] = cmd.Name, e.ID
		line, env = append(line, e.ID), append(env, "QUORATE_ID="+e.ID)
	}
	if c.View != 0 {
		o["version"], env = uint64(c.View), append(env, fmt.Sprintf("QUORATE_VERSION=%d", uint64(c.View)))
	}
	if c.Type == dservice.Put || c.Type == dservice.Current {
		maps.Copy(o, serviceObject(cmd.Name, e))
		env = append(env, "QUORATE_ADDRESS="+e.HostPort(), "QUORATE_STATE="+stateOf(e))
		line = append(line, e.HostPort(), stateOf(e))
		if remark := remarkOf(e); remark != "" {
			line = append(line, remark)
		}
	}
	if path != "" {
		return cmd.run(ctx, a, path, env, e.HostPort())
	}
	return a.PrintLine(strings.Join(line, "\t"), o)
}

type serviceResolve struct {
	serviceName
	Strategy string `help:"Which instance: random, or sticky, which picks the same one for a --key." enum:"random,sticky" default:"random" placeholder:"random|sticky"`
	Key      string `help:"What sticky picks by." placeholder:"KEY"`
	Tag      string `help:"Only an instance that has the tag." placeholder:"TAG"`
	All      bool   `help:"Print all instances for use, one a line."`
}

// Run runs the command.
func (cmd *serviceResolve) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(s *dservice.Service) error {
		print := func(i dservice.Instance) error {
			return a.PrintLine(i.HostPort(), cli.Object{"service": cmd.Name, "id": i.ID, "address": i.Address, "port": i.Port})
		}
		if cmd.All {
			list, _, err := s.List(ctx, dservice.Tag(cmd.Tag))
			if err == nil && len(list) == 0 {
				err = cli.No(fmt.Errorf("service %s has no instance for use", cmd.Name))
			}
			for i := range list {
				if err := print(list[i].Instance); err != nil {
					return err
				}
			}
			return err // of those that cannot be decoded, too
		}
		strategy := dservice.Random()
		if cmd.Strategy == "sticky" {
			strategy = dservice.Sticky()
		}
		ctx, cancel := context.WithTimeout(ctx, cmd.Timeout)
		defer cancel()
		p, err := s.Provider(ctx, strategy)
		if err != nil {
			return err
		}
		defer p.Close()
		in, err := p.Pick(dservice.Key(cmd.Key), dservice.WithTag(cmd.Tag))
		if errors.Is(err, dservice.ErrNoInstance) {
			return cli.No(fmt.Errorf("service %s has no instance for use", cmd.Name))
		}
		if err != nil {
			return err
		}
		return print(in)
	})
}

type serviceDrain struct {
	serviceName
	ID     string `arg:"" help:"The instance; it need not be registered."`
	Reason string `help:"Why." placeholder:"TEXT"`
}

// Run runs the command.
func (cmd *serviceDrain) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(s *dservice.Service) error {
		if _, err := s.Drain(ctx, cmd.ID, dservice.Reason(cmd.Reason)); err != nil {
			return err
		}
		return a.Print("", cli.Object{"service": cmd.Name, "id": cmd.ID, "drained": true})
	})
}

type serviceUndrain struct {
	serviceName
	ID string `arg:"" help:"The instance."`
}

// Run runs the command.
func (cmd *serviceUndrain) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(s *dservice.Service) error {
		was, err := s.Undrain(ctx, cmd.ID)
		switch {
		case err != nil:
			return err
		case !was:
			return cli.No(fmt.Errorf("%s of service %s is not drained", cmd.ID, cmd.Name))
		}
		return a.Print("", cli.Object{"service": cmd.Name, "id": cmd.ID, "drained": false})
	})
}

type serviceDeregister struct {
	serviceName
	ID string `arg:"" help:"The instance."`
}

// Run runs the command.
func (cmd *serviceDeregister) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(s *dservice.Service) error {
		was, err := s.Remove(ctx, cmd.ID)
		switch {
		case err != nil:
			return err
		case !was:
			return cli.No(fmt.Errorf("service %s has no instance %s", cmd.Name, cmd.ID))
		}
		return a.Print("", cli.Object{"service": cmd.Name, "id": cmd.ID, "removed": true})
	})
}
