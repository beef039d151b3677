package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// How much is swept, and where it is written down; build/prove sets both.
var (
	everyPoint = flag.Bool("every", false, "sweep every point; without it some, spread evenly")
	onePoint   = flag.Int("point", 0, "sweep the point of this `number` alone")
	figureFile = flag.String("figures", "", "append what was swept to this `file`, a line of JSON each")
)

// figures are what one sweep, or one other trial, came to: build/prove collects them.
type figures struct {
	Test      string         `json:"test"`      // which prints them, by its full name
	Component string         `json:"component"` // of the pool
	Side      string         `json:"side"`      // whose conversation with it was at fault
	Fault     string         `json:"fault"`
	Phase     string         `json:"phase,omitempty"`
	Points    int            `json:"points"` // lives with a fault each
	Double    int            `json:"double"` // miners with more than they were owed
	Lost      int            `json:"lost"`   // miners with less, with nothing in flight
	Person    map[string]int `json:"person"` // points at which a person was needed, by the reason
	Wrong     []string       `json:"wrong"`  // all that should not be, with the command that shows it again
	Seconds   float64        `json:"seconds"`
}

var figuring sync.Mutex

// write appends the figures to the file, and says them.
func (f *figures) write(t *testing.T, took time.Duration) {
	t.Helper()
	f.Test, f.Seconds = t.Name(), took.Seconds()
	t.Logf("%d points, %d paid twice, %d not paid, a person needed: %v; %.2f s a point",
		f.Points, f.Double, f.Lost, f.Person, f.Seconds/float64(max(f.Points, 1)))
	if *figureFile == "" {
		return
	}
	line, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	figuring.Lock()
	defer figuring.Unlock()
	file, err := os.OpenFile(*figureFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(file, "%s\n", line)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		t.Fatal(err)
	}
}
