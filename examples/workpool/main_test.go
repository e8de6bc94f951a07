package main

import (
	"testing"

	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
)

func TestWorkpool(t *testing.T) {
	c := gridtest.Start(t, 1).Client(t)
	var jobs []int
	for i := range 40 {
		jobs = append(jobs, i)
	}
	if err := dqueue.New[int](c, "jobs").PutAll(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	done, err := run(t.Context(), c, 5)
	if err != nil || done != len(jobs) {
		t.Fatalf("%d jobs done, %v", done, err)
	}
	squares, err := dmap.New[int, int](c, "squares").GetAll(t.Context(), jobs...)
	if err != nil || len(squares) != len(jobs) || squares[39] != 39*39 {
		t.Errorf("%v, %v", squares, err)
	}
}
