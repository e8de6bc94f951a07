package kinds

import (
	"bytes"
	"encoding/json"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Protocol returns docs/protocol.json: the numbers that the author of a client needs,
// and what each kind of structure says of itself. Keys that are missing are zero, as
// in messages.
func Protocol() []byte {
	control, transactions := structures.Control(), structures.Transactions()
	doc := document{
		About:     "The numbers of docs/protocol.md, made from the kinds of structures. What is missing is zero, false or empty.",
		Version:   protocol.WireVersion,
		Oldest:    protocol.OldestVersion,
		Preface:   string(protocol.AppendPreface(nil, protocol.PurposeClient)),
		Messages:  messages,
		Hello:     helloFlags,
		Request:   requestFlags,
		Features:  features,
		Sessions:  sessionActions,
		Keys:      keyTags,
		Codecs:    codecs,
		Routes:    routes,
		Limits:    limits(),
		Constants: constants,
		Codes:     codes(),
		Rules:     rules(structures.CommonRules()),
		Control:   describe(&control),
		Txn:       describe(&transactions),
		Generic:   generic(),
	}
	for _, k := range All() {
		doc.Kinds = append(doc.Kinds, describe(&k))
	}
	var b bytes.Buffer
	layOut(&b, encode(doc), "")
	return append(b.Bytes(), '\n')
}

// document is the file. Its keys are names of the page, and are never used for
// something else.
type document struct {
	About     string        `json:"about"`
	Version   int           `json:"version"`
	Oldest    int           `json:"oldest"`
	Preface   string        `json:"preface"`
	Messages  []message     `json:"messages"`
	Hello     []number      `json:"hello_flags"`
	Request   []number      `json:"request_flags"`
	Features  []number      `json:"features"`
	Sessions  []number      `json:"session_actions"`
	Keys      []number      `json:"key_tags"`
	Codecs    []number      `json:"codecs"`
	Routes    []route       `json:"routes"`
	Limits    []limit       `json:"limits"`
	Constants []constant    `json:"constants"`
	Codes     []code        `json:"codes"`
	Rules     []rule        `json:"rules"`
	Control   description   `json:"control"`
	Txn       description   `json:"transaction"`
	Generic   []operation   `json:"generic"`
	Kinds     []description `json:"kinds"`
}

// number is one that has a name: a flag, a tag, an action.
type number struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	Help   string `json:"help"`
}

type message struct {
	Type   protocol.MessageType `json:"type"`
	Name   string               `json:"name"`
	Client bool                 `json:"client,omitempty"` // a client sends it
	Help   string               `json:"help"`
}

type limit struct {
	Name    string `json:"name"`
	Default uint32 `json:"default"`
	Max     uint32 `json:"max,omitempty"` // that any cluster has; 0: only what its type can say
	Help    string `json:"help"`
}

type constant struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
	Help  string `json:"help"`
}

type route struct {
	By   string `json:"by"`
	Help string `json:"help"`
}

type code struct {
	Code   protocol.Code `json:"code"`
	Name   string        `json:"name"`
	Class  string        `json:"class"`
	Help   string        `json:"help"`
	Answer bool          `json:"answer,omitempty"` // it says what was found, and refuses no transaction
	Client string        `json:"client,omitempty"`
}

type description struct {
	Kind       protocol.KindID `json:"kind"`
	Name       string          `json:"name"`
	Level      uint32          `json:"level"`
	Keyed      bool            `json:"keyed,omitempty"`
	Doc        string          `json:"doc"`
	Unit       string          `json:"unit,omitempty"`
	Watch      string          `json:"watch,omitempty"`
	Operations []operation     `json:"operations"`
	Rules      []rule          `json:"rules,omitempty"`
	Codes      []code          `json:"codes,omitempty"`
	Settings   []setting       `json:"settings,omitempty"`
	Conditions []condition     `json:"conditions,omitempty"`
}

type operation struct {
	Op     protocol.Op     `json:"op"`
	Name   string          `json:"name"`
	Level  uint32          `json:"level,omitempty"` // 0: that of the kind
	Of     string          `json:"of,omitempty"`    // which kinds have it, if not all: "keyed", "holding"
	Read   bool            `json:"read,omitempty"`
	Waits  bool            `json:"waits,omitempty"`
	Grows  bool            `json:"grows,omitempty"`
	Holds  bool            `json:"holds,omitempty"`
	Admin  bool            `json:"admin,omitempty"`
	Txn    bool            `json:"transaction,omitempty"` // it may be part of one
	Right  []string        `json:"right,omitempty"`
	Route  routed          `json:"route"`
	ByKeys *routed         `json:"keyed_route,omitempty"` // of kinds that have keys, if it is another
	Body   string          `json:"body,omitempty"`
	Result string          `json:"result,omitempty"`
	Codes  []protocol.Code `json:"codes,omitempty"`
}

// rule is what a name in a body or result is.
type rule struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Help string `json:"help"`
}

type routed struct {
	By    string `json:"by"`
	First int    `json:"first,omitempty"`
	Every int    `json:"every,omitempty"`
}

// condition is one that a transaction can have about a structure of the kind.
type condition struct {
	Number structures.Test `json:"number"`
	Name   string          `json:"name"`
	Body   string          `json:"body"`
	Help   string          `json:"help"`
}

type setting struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Default any    `json:"default"`
	Help    string `json:"help"`
}

// describe describes a kind.
func describe(k *structures.Kind) description {
	d := description{
		Kind: k.ID, Name: k.Name, Level: k.Level, Keyed: k.Keyed, Doc: k.Doc, Unit: k.Unit, Operations: operations(k.Ops), Rules: rules(k.Rules),
	}
	if k.Watch != structures.WatchNone {
		d.Watch = k.Watch.String()
	}
	for _, c := range k.Codes {
		d.Codes = append(d.Codes, code{Code: c.Code, Name: c.Name, Class: c.Code.Class().String(), Help: c.Help, Answer: c.Answer})
	}
	for _, t := range k.AllTests() {
		d.Conditions = append(d.Conditions, condition{t.Test, t.Name, t.Body, t.Help})
	}
	for _, s := range k.Settings {
		described := setting{Name: s.Name, Type: s.Type.String(), Default: s.Default.Int, Help: s.Help}
		if s.Type == structures.SettingText {
			described.Default = s.Default.Text
		}
		d.Settings = append(d.Settings, described)
	}
	return d
}

func operations(infos []structures.OpInfo) (list []operation) {
	for _, o := range infos {
		list = append(list, operation{
			Op: o.Op, Name: o.Name, Level: o.Level,
			Read: o.Read, Waits: o.Waits, Grows: o.Grows, Holds: o.Binds(), Admin: o.Admin, Txn: o.Txn, Right: o.Right.Names(),
			Route: routeOf(o.Route), Body: o.Body, Result: o.Result, Codes: o.Codes,
		})
	}
	return list
}

func rules(from []structures.Rule) (list []rule) {
	for _, r := range from {
		list = append(list, rule(r))
	}
	return list
}

func routeOf(r structures.Route) (d routed) {
	d.By, d.First, d.Every = r.Describe()
	return d
}

// generic describes the operations that every kind has, and those that only kinds
// with keys, or with operations that hold, have.
func generic() []operation {
	holding := structures.Kind{Ops: []structures.OpInfo{{Op: 1, Holds: true}}}
	keyed := structures.Kind{Keyed: true}
	both := structures.Kind{Keyed: true, Ops: holding.Ops}
	list := operations(both.Generic())
	for i := range list {
		o := &list[i]
		plain := holding.Op(o.Op)
		switch {
		case plain == nil:
			o.Of = "keyed"
			continue
		case keyed.Op(o.Op) == nil:
			o.Of = "holding"
		}
		if by := routeOf(plain.Route); by != o.Route {
			other := o.Route
			o.Route, o.ByKeys = by, &other
		}
	}
	return list
}

func codes() (list []code) {
	for _, c := range protocol.Codes() {
		list = append(list, code{Code: c.Code, Name: c.Name, Class: c.Code.Class().String(), Help: c.Meaning, Client: c.Client})
	}
	return list
}

// encode returns v as JSON in one line.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("kinds: bug: " + err.Error())
	}
	return bytes.TrimSpace(b.Bytes())
}

// maxLine is how long an object or array may be that is one line.
const maxLine = 300

// layOut appends JSON in lines that a person can read and a diff can show: what is
// short is one line, but for lists of objects, with a space behind each comma and colon.
func layOut(dst *bytes.Buffer, raw json.RawMessage, indent string) {
	if opens := raw[0]; opens != '{' && opens != '[' {
		dst.Write(raw)
		return
	}
	between, margin := " ", ""
	if indent == "" || len(raw) > maxLine || bytes.HasPrefix(raw, []byte("[{")) {
		between, margin = "\n"+indent+"  ", "\n"+indent
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	opens, _ := d.Token()
	dst.WriteString(opens.(json.Delim).String())
	for first := true; d.More(); first = false {
		if !first {
			dst.WriteByte(',')
		}
		if !first || margin != "" {
			dst.WriteString(between)
		}
		if raw[0] == '{' {
			key, _ := d.Token()
			dst.Write(encode(key))
			dst.WriteString(": ")
		}
		var value json.RawMessage
		_ = d.Decode(&value) // it was encoded above
		layOut(dst, value, indent+"  ")
	}
	closes, _ := d.Token()
	dst.WriteString(margin)
	dst.WriteString(closes.(json.Delim).String())
}
