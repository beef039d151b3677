package main

import (
	"fmt"
	"os"
	"strings"
)

// Between these lines of the document stand the figures, and nothing else does.
const (
	figuresBegin = "<!-- figures: make prove writes them -->\n"
	figuresEnd   = "<!-- end of figures -->\n"
)

// write puts the figures into the document.
func write(path, simulated, swept, summed string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), figuresBegin)
	_, after, ends := strings.Cut(rest, figuresEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no place for figures: want a line %q and a line %q", path, strings.TrimSpace(figuresBegin), strings.TrimSpace(figuresEnd))
	}
	code := func(text string) string { return "```\n" + strings.TrimSpace(text) + "\n```\n" }
	figures := code(simulated) + "\n" + swept + "\n" + code(summed)
	return os.WriteFile(path, []byte(before+figuresBegin+figures+figuresEnd+after), 0o644)
}
