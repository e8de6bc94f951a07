package structures

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/quorate/quorate"
)

func checkName(name string, limit int) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the name is empty", quorate.ErrInvalid)
	case len(name) > limit:
		return fmt.Errorf("%w: the name has %d bytes, at most %d", quorate.ErrTooLarge, len(name), limit)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the name is not UTF-8", quorate.ErrInvalid)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Errorf("%w: the name %q has a control character", quorate.ErrInvalid, name)
		}
	}
	return nil
}
