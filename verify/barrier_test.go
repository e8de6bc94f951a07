package verify

import "testing"

func TestCheckMeetings(t *testing.T) {
	for _, test := range []struct {
		name    string
		all     []Meeting
		unknown int
		double  bool
		wrong   bool
	}{
		{name: "two rounds", all: []Meeting{{5, 0, 1, 9, 0, 0}, {5, 1, 4, 8, 0, 0}, {7, 0, 10, 20, 0, 0}, {7, 1, 11, 19, 0, 0}}},
		{name: "half passes", all: []Meeting{{5, 0, 1, 3, 0, 0}, {5, 1, 4, 8, 0, 0}}, wrong: true},
		{name: "one passes alone", all: []Meeting{{5, 0, 1, 9, 0, 0}}, wrong: true},
		{name: "the other is unknown", all: []Meeting{{5, 0, 1, 9, 0, 0}}, unknown: 1},
		{name: "three of two", all: []Meeting{{5, 0, 1, 9, 0, 0}, {5, 1, 1, 9, 0, 0}, {5, 1, 1, 9, 0, 0}}, wrong: true},
		{name: "the same index", all: []Meeting{{5, 1, 1, 9, 0, 0}, {5, 1, 1, 9, 0, 0}}, wrong: true},
		{name: "rounds go back", all: []Meeting{{5, 0, 10, 20, 0, 0}, {5, 1, 11, 19, 0, 0}, {7, 0, 1, 9, 0, 0}, {7, 1, 4, 8, 0, 0}}, wrong: true},
		{name: "inside and left", double: true, all: []Meeting{{5, 0, 1, 9, 12, 20}, {5, 0, 4, 8, 15, 19}, {7, 0, 10, 30, 0, 0}, {7, 0, 11, 29, 0, 0}}},
		{name: "laps", double: true, all: []Meeting{{5, 0, 1, 9, 12, 20}, {5, 0, 4, 8, 25, 26}, {7, 0, 13, 24, 0, 0}, {7, 0, 13, 24, 0, 0}}, wrong: true},
		{name: "left before the other", double: true, all: []Meeting{{5, 0, 1, 9, 12, 20}, {5, 0, 4, 8, 25, 26}}, wrong: true},
	} {
		if err := CheckMeetings(test.all, 2, test.unknown, test.double); (err != nil) != test.wrong {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
