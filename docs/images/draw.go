//go:build ignore

// Command images makes the pictures of the README: each in colours for a light page and
// for a dark one.
//
//	cd docs/images && go run draw.go
package main

import (
	"fmt"
	"os"
	"strings"
)

// colours are those of a picture.
type colours struct{ text, quiet, line, box, client, leader, follower, other string }

var themes = map[string]colours{
	"light": {"#1f2328", "#59636e", "#8c959f", "#f6f8fa", "#ddf4ff", "#1f883d", "#b6e3c2", "#afb8c1"},
	"dark":  {"#f0f6fc", "#9198a1", "#656c76", "#151b23", "#0c2d6b", "#2ea043", "#12492a", "#656c76"},
}

type svg struct {
	strings.Builder
	c colours
}

func (s *svg) rect(x, y, w, h int, fill, stroke string) {
	fmt.Fprintf(s, `<rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="%s" stroke="%s"/>`+"\n", x, y, w, h, fill, stroke)
}

func (s *svg) text(x, y, size int, anchor, fill, format string, args ...any) {
	fmt.Fprintf(s, `<text x="%d" y="%d" font-size="%d" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, size, anchor, fill, fmt.Sprintf(format, args...))
}

func (s *svg) arrow(x1, y1, x2, y2 int, dashed bool) {
	dash := ""
	if dashed {
		dash = ` stroke-dasharray="4 3"`
	}
	fmt.Fprintf(s, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="1.5"%s marker-end="url(#tip)"/>`+"\n", x1, y1, x2, y2, s.c.line, dash)
}

// draw writes a picture in both themes.
func draw(name, title string, w, h int, f func(*svg)) {
	for theme, c := range themes {
		s := &svg{c: c}
		fmt.Fprintf(s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" role="img">`+"\n<title>%s</title>\n", w, h, w, h, title)
		fmt.Fprintf(s, `<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="%s"/></marker></defs>`+"\n", c.line)
		f(s)
		s.WriteString("</svg>\n")
		if err := os.WriteFile(name+"-"+theme+".svg", []byte(s.String()), 0o644); err != nil {
			panic(err)
		}
	}
}

// grid shows clients, members and the groups of partitions that they replicate.
func grid(s *svg) {
	const member, gap, left = 230, 25, 20
	x := func(i int) int { return left + i*(member+gap) }
	// Clients.
	s.rect(x(0)+40, 20, 300, 56, s.c.client, s.c.line)
	s.text(x(0)+190, 44, 15, "middle", s.c.text, "your service, with the Go client")
	s.text(x(0)+190, 64, 12, "middle", s.c.quiet, "hashes the key, speaks to the leader")
	s.rect(x(2)-120, 20, 300, 56, s.c.client, s.c.line)
	s.text(x(2)+30, 44, 15, "middle", s.c.text, "Python, quorate, any language")
	s.text(x(2)+30, 64, 12, "middle", s.c.quiet, "one member, which routes")
	groups := []struct {
		name  string
		leads int
	}{{"group 2", 0}, {"group 3", 1}, {"group 4", 2}}
	for i := range 3 {
		s.rect(x(i), 150, member, 208, s.c.box, s.c.line)
		s.text(x(i)+member/2, 176, 16, "middle", s.c.text, "member n%d", i+1)
		for g, group := range groups {
			fill, what, colour := s.c.follower, "follower", s.c.text
			if group.leads == i {
				fill, what, colour = s.c.leader, "leader", "#ffffff"
			}
			y := 192 + g*40
			s.rect(x(i)+16, y, member-32, 32, fill, "none")
			s.text(x(i)+28, y+21, 13, "start", colour, "%s", group.name)
			s.text(x(i)+member-28, y+21, 13, "end", colour, "%s", what)
		}
		s.rect(x(i)+16, 316, member-32, 28, "none", s.c.line)
		s.text(x(i)+28, 335, 12, "start", s.c.quiet, "system group: who, where")
	}
	s.arrow(x(0)+110, 78, x(0)+110, 148, false)
	s.arrow(x(0)+300, 78, x(1)+90, 148, false)
	s.arrow(x(2)+30, 78, x(2)+30, 148, false)
	for g, group := range groups { // from the leader to its followers, one behind the other
		y := 208 + g*40
		for i := range 2 {
			from, to := x(i)+member-14, x(i+1)+14
			if group.leads > i {
				from, to = to, from
			}
			s.arrow(from, y, to, y, true)
		}
	}
	s.text(x(0), 385, 13, "start", s.c.quiet, "Each key belongs to one of 271 partitions, each partition to one Raft group. What is acknowledged")
	s.text(x(0), 404, 13, "start", s.c.quiet, "is on a majority of the group's members, synced to disk (or in memory, if the grid is founded so).")
}

// bar is a measured ratio.
type bar struct {
	label string
	ratio float64
}

// ratios are those of docs/benchmarks.md, "Beside etcd".
var ratios = []bar{
	{"1 in flight", 1.10},
	{"64 in flight", 2.06},
	{"256 in flight", 2.90},
	{"1,024 in flight", 3.71},
}

func chart(s *svg) {
	const left, unit, height = 150, 150, 34
	s.text(20, 28, 15, "start", s.c.text, "Operations a second beside etcd, in the same run (etcd = 1)")
	for i, b := range ratios {
		y := 48 + i*height
		s.text(left-10, y+17, 13, "end", s.c.text, "%s", b.label)
		s.rect(left, y, int(b.ratio*unit), 24, s.c.leader, "none")
		s.text(left+int(b.ratio*unit)+8, y+17, 13, "start", s.c.text, "%.2f x", b.ratio)
	}
	bottom := 48 + len(ratios)*height
	fmt.Fprintf(s, `<line x1="%d" y1="40" x2="%d" y2="%d" stroke="%s" stroke-width="1.5" stroke-dasharray="4 3"/>`+"\n", left+unit, left+unit, bottom, s.c.text)
	s.text(left+unit, bottom+16, 12, "middle", s.c.quiet, "etcd")
	s.text(20, bottom+40, 12, "start", s.c.quiet, "Three processes each on two CPUs, synced to disk, half puts and half linearizable gets, values of 100 bytes, medians.")
}

func main() {
	draw("grid", "Three members replicate the groups of partitions; clients speak to the leaders", 790, 420, grid)
	draw("ratios", "Operations a second of Quorate beside etcd", 790, 48+len(ratios)*34+56, chart)
}
