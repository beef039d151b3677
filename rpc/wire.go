package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxBody is the longest answer that is read, in bytes.
const maxBody = 64 << 20

// question is a request as JSON-RPC 2.0 section 4 writes it.
type question struct {
	Version string `json:"jsonrpc"`
	ID      uint64 `json:"id"`
	Method  string `json:"method"`
	Params  []any  `json:"params"`
}

// answer is a response as JSON-RPC 2.0 section 5 has it; its members are looked at
// one by one, because nodes and what stands before them take liberties.
type answer struct{ Version, ID, Result, Error json.RawMessage }

// parseAnswer reads a response; null says nothing.
func parseAnswer(raw json.RawMessage) (answer, error) {
	m, err := object(raw)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return answer{}, err
	}
	return answer{m.find("jsonrpc"), m.find("id"), m.find("result"), m.find("error")}, nil
}

// send asks one node one HTTP message's worth of questions and sets each
// request's Err. It returns an error when there is no answer to any of them; it is
// the cause only, without the node and the method.
func (c *Client) send(ctx context.Context, n *node, reqs []*Request, batch bool) error {
	questions := make([]question, len(reqs))
	for i, r := range reqs {
		params := r.Params
		if params == nil {
			params = []any{}
		}
		questions[i] = question{Version: "2.0", ID: c.ids.Add(1), Method: r.Method, Params: params}
	}
	var message any = questions
	if !batch {
		message = questions[0]
	}
	body, err := json.Marshal(message)
	if err != nil {
		return errors.New("parameters cannot be written as JSON") // the cause could quote them
	}
	status, reply, err := c.post(ctx, n, body, uint64(len(reqs)))
	if err != nil {
		return err
	}
	reply = bytes.TrimSpace(reply)
	if !batch {
		a, err := parseAnswer(reply)
		if err != nil {
			return n.notJSON(status, reply)
		}
		reqs[0].Err = n.judge(reqs[0], questions[0].ID, a, status)
		return nil
	}
	list, err := elements(reply)
	if err != nil {
		// One error object for the whole batch: nobody says what became of its elements.
		if a, err := parseAnswer(reply); err == nil {
			if e, err := a.verdict(); err == nil && e != nil {
				return fmt.Errorf("batch refused as a whole: %s (code %d)", n.printable(e.Message), e.Code)
			}
		}
		return n.notJSON(status, reply)
	}
	byID := make(map[string][]answer, len(list))
	for _, raw := range list {
		a, err := parseAnswer(raw)
		if err != nil {
			return n.notJSON(status, reply)
		}
		byID[string(a.ID)] = append(byID[string(a.ID)], a)
	}
	for i, r := range reqs {
		switch found := byID[fmt.Sprint(questions[i].ID)]; len(found) {
		case 1:
			r.Err = n.judge(r, questions[i].ID, found[0], status)
		case 0:
			r.Err = n.unknown(r.Method, errors.New("the batch has no answer to it"))
		default:
			r.Err = n.unknown(r.Method, fmt.Errorf("the batch has %d answers to it", len(found)))
		}
	}
	return nil
}

// post sends one HTTP message and returns the status and the whole body.
func (c *Client) post(ctx context.Context, n *node, body []byte, requests uint64) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, errors.New("request cannot be built") // the cause would quote the URL
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if n.auth {
		req.SetBasicAuth(n.user, n.password)
	}
	c.calls.Add(requests)
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, transportError(err)
	}
	defer func() { _ = res.Body.Close() }() // it was read: nothing to lose
	reply, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return 0, nil, fmt.Errorf("read answer with HTTP status %d: %w", res.StatusCode, transportError(err))
	}
	if len(reply) > maxBody {
		return 0, nil, fmt.Errorf("answer is longer than %d bytes", maxBody)
	}
	return res.StatusCode, reply, nil
}

// transportError drops the URL, which may hold a key in its path, from an error.
func transportError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// judge decides what an answer says about its request.
func (n *node) judge(r *Request, id uint64, a answer, status int) error {
	e, err := a.verdict()
	if err != nil {
		return n.unknown(r.Method, err)
	}
	// A server that could not read the question answers with an error and a null id.
	if got := string(a.ID); got != fmt.Sprint(id) && (e == nil || len(a.ID) > 0 && got != "null") {
		return n.unknown(r.Method, errors.New("the answer has another request's id"))
	}
	switch {
	case e != nil && status != http.StatusOK && string(a.Version) != `"2.0"`:
		return n.unknown(r.Method, fmt.Errorf("HTTP status %d: %s", status, n.printable(e.Message)))
	case e != nil:
		e.Method, e.Node, e.shown = r.Method, n.name, n.printable(e.Message)
		return e
	case status != http.StatusOK:
		return n.unknown(r.Method, fmt.Errorf("HTTP status %d", status))
	}
	switch err := r.take(a.Result); {
	case errors.Is(err, ErrNotFound):
		return fmt.Errorf("%s at %s: %w", r.Method, n.name, ErrNotFound)
	case err != nil:
		return n.unknown(r.Method, fmt.Errorf("wrong shape: %w", err))
	}
	return nil
}

// verdict returns the answer's error object, nil when it has a result instead, and
// an error when it has neither or both.
func (a answer) verdict() (*Error, error) {
	if len(a.Error) == 0 || isNull(a.Error) {
		if len(a.Result) == 0 {
			return nil, errors.New("the answer has neither result nor error")
		}
		return nil, nil
	}
	if len(a.Result) > 0 && !isNull(a.Result) {
		return nil, errors.New("the answer has both result and error")
	}
	var fields struct {
		Code    *int            `json:"code"`
		Message *string         `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if json.Unmarshal(a.Error, &fields) != nil || fields.Code == nil || fields.Message == nil {
		return nil, errors.New("the answer's error has not the form code and message")
	}
	return &Error{Code: *fields.Code, Message: *fields.Message, Data: fields.Data}, nil
}

// unknown is an outcome nobody knows, and why.
func (n *node) unknown(method string, cause error) error {
	return fmt.Errorf("%s at %s: %w: %w", method, n.name, ErrUnknown, cause)
}

// notJSON describes a body that is not an answer.
func (n *node) notJSON(status int, body []byte) error {
	const shown = 80
	head := string(body[:min(len(body), 4096)])
	return fmt.Errorf("HTTP status %d with %d bytes that are no JSON-RPC answer: %q",
		status, len(body), printable(n.redact(head), shown))
}

// printable is a server's text made fit for a log line of ours.
func (n *node) printable(s string) string { return printable(n.redact(s), shownMessage) }

// redact removes the password, which a server might send back.
func (n *node) redact(s string) string {
	if n.password == "" {
		return s
	}
	return strings.ReplaceAll(s, n.password, "…")
}

// isNull reports whether raw is JSON's null.
func isNull(raw json.RawMessage) bool { return string(raw) == "null" }
