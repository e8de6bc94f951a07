//go:build !mutants

package structures

import "context"

func mutantCancel(cancel context.CancelCauseFunc) context.CancelCauseFunc { return cancel }
