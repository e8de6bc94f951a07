package verify

import (
	"encoding/json"
	"fmt"
	"io"
)

// WriteJSON writes a history as lines of JSON, one operation each, in the order
// they were noted. Times are nanoseconds since the history began.
func (h *History) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	for _, op := range h.Operations() {
		line := struct {
			Object  string `json:"object"`
			Client  int    `json:"client"`
			Call    int64  `json:"call"`
			Return  int64  `json:"return,omitempty"`
			Unknown bool   `json:"unknown,omitempty"`
			What    string `json:"what"`
		}{Object: op.Object.String(), Client: op.Client, Call: op.Call, What: op.String()}
		if op.Return == Pending {
			line.Unknown = true
		} else {
			line.Return = op.Return
		}
		if err := e.Encode(line); err != nil {
			return fmt.Errorf("write history: %w", err)
		}
	}
	return nil
}

// String says what was called and what came back.
func (op Operation) String() string {
	return checkers[op.Object.kind].model.DescribeOperation(op.Input, op.Output)
}
