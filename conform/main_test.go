package conform_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets more tests run beside each other than there are processors: they
// wait most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
