package payouts

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

var ourChain = Header{ChainID: 61, Genesis: common.HexToHash("0xd4"), Account: common.HexToAddress(someAccount), Time: 1_700_000_000}

// someRecords are one of each kind.
func someRecords() []Record {
	hash := common.HexToHash("0xabcd")
	p := &storage.Payment{ID: "7-00112233", Kind: storage.ToMiner, Login: login(1), Amount: coin, Time: 1_700_000_001, State: storage.Signed,
		Account: ourChain.Account, Nonce: 7, To: address(login(1)), Value: coin.Wei(), Gas: 21000,
		Attempts: []storage.Attempt{{Hash: hash, Raw: []byte{0xf8, 1, 2, 3}, GasPrice: big.NewInt(1e9), AtBlock: 12}}}
	return []Record{
		{Payment: p},
		{Attempt: &AttemptRecord{ID: p.ID, Count: 2, Attempt: storage.Attempt{Hash: common.HexToHash("0xef"), Raw: []byte{0x02, 9}, FeeCap: big.NewInt(3e9), TipCap: big.NewInt(1e9), AtBlock: 40}}},
		{Void: &VoidRecord{ID: p.ID, Fate: storage.NonceForeign(hash), Why: "a reason\nof \"two\" lines", Reject: "é"}},
		{ByHand: &ByHandRecord{Login: login(2), Amount: 5, Hash: hash, Time: 1_700_000_002}},
	}
}

// openJournal opens a journal that must open, until the test ends.
func openJournal(t testing.TB, path string) *JournalFile {
	t.Helper()
	j, err := OpenJournal(path, ourChain)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// written makes a journal of these records and returns its bytes.
func written(t testing.TB, path string, records ...Record) []byte {
	t.Helper()
	j := openJournal(t, path)
	for _, r := range records {
		if err := j.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// read is what the journal holds behind its header.
func (j *JournalFile) read(t testing.TB) []Record {
	t.Helper()
	var records []Record
	if err := j.Replay(func(r Record) error {
		if r.Header == nil {
			records = append(records, r)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return records
}

// sameBig compares amounts by value.
var sameBig = cmp.Comparer(func(a, b *big.Int) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Cmp(b) == 0
})

func wantRecords(t testing.TB, j *JournalFile, want ...Record) {
	t.Helper()
	if diff := cmp.Diff(want, j.read(t), sameBig); diff != "" {
		t.Errorf("the journal holds (-want +got):\n%s", diff)
	}
}

func TestJournalSurvivesAReopening(t *testing.T) {
	path, want := filepath.Join(t.TempDir(), "journal"), someRecords()
	j := openJournal(t, path)
	id := j.Header().ID
	if err := j.Append(want[:2]...); err != nil {
		t.Fatal(err)
	}
	wantRecords(t, j, want[:2]...)
	j.Close()

	j = openJournal(t, path)
	if h := j.Header(); h.ID != id || h.ChainID != 61 || h.Genesis != ourChain.Genesis || h.Account != ourChain.Account || h.Time != ourChain.Time {
		t.Errorf("header %+v, want %+v with id %s", h, ourChain, id)
	}
	if err := j.Append(want[2:]...); err != nil {
		t.Fatal(err)
	}
	j.Close()
	wantRecords(t, openJournal(t, path), want...)
}

func TestJournalIsReadByNobodyElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	openJournal(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != 0o600 {
		t.Errorf("mode %v, want 0600", got)
	}
}

func TestJournalIsOpenedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := openJournal(t, path)
	if _, err := OpenJournal(path, ourChain); !errors.Is(err, ErrJournalLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("second open = %v, want ErrJournalLocked naming the file", err)
	}
	if err := j.Append(someRecords()...); err != nil {
		t.Fatal(err)
	}
	j.Close()
	wantRecords(t, openJournal(t, path), someRecords()...)
}

func TestJournalOfSomebodyElseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	before := written(t, path, someRecords()...)
	for _, tc := range []struct {
		name   string
		change func(*Header)
		want   string
	}{
		{"another chain id", func(h *Header) { h.ChainID = 1 }, "it belongs to chain id 61"},
		{"another genesis", func(h *Header) { h.Genesis = common.HexToHash("0xd5") }, "it belongs to chain id 61"},
		{"another account", func(h *Header) { h.Account[0]++ }, "it belongs to account " + ourChain.Account.Hex()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := ourChain
			tc.change(&h)
			if _, err := OpenJournal(path, h); !errors.Is(err, ErrJournal) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("open = %v, want ErrJournal and %q", err, tc.want)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
				t.Error("the file was changed")
			}
		})
	}
	// A refusal gives the lock back.
	wantRecords(t, openJournal(t, path), someRecords()...)
}

func TestJournalDropsATornLastRecordWhereverItTore(t *testing.T) {
	dir, records := t.TempDir(), someRecords()
	whole := written(t, filepath.Join(dir, "whole"), records...)
	last := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	path := filepath.Join(dir, "torn")
	for n := last; n < len(whole); n++ {
		for name, tail := range map[string][]byte{
			"cut off":                nil,
			"zeros where bytes were": make([]byte, len(whole)-n),
			"a line end in zeros":    append(make([]byte, len(whole)-n-1), '\n'),
			"more than there was":    make([]byte, len(whole)),
		} {
			if err := os.WriteFile(path, append(bytes.Clone(whole[:n]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			if name == "a line end in zeros" && n == len(whole)-1 {
				continue // that is the record itself
			}
			j, err := OpenJournal(path, ourChain)
			if err != nil {
				t.Fatalf("%s after byte %d: %v", name, n, err)
			}
			wantRecords(t, j, records[:len(records)-1]...)
			// What is written next stands on a line of its own.
			if err := j.Append(records[3]); err != nil {
				t.Fatal(err)
			}
			j.Close()
			if after, _ := os.ReadFile(path); !bytes.Equal(after, whole) {
				t.Fatalf("%s after byte %d: the file is not what it was before", name, n)
			}
		}
	}
}

// Power that fails in the middle of a batch may keep its end and lose its
// beginning. Nothing of that batch was sent.
func TestJournalDropsABatchThatIsTornInItsMiddle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	whole := written(t, path, someRecords()[0])
	j := openJournal(t, path)
	if err := j.Append(someRecords()...); err != nil {
		t.Fatal(err)
	}
	j.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := len(whole); at < len(data)-1; at++ {
		torn := bytes.Clone(data)
		torn[at] = 0
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		j := openJournal(t, path)
		wantRecords(t, j, someRecords()[0])
		j.Close()
	}
}

func TestJournalDamagedBeforeItsLastRecordIsRefused(t *testing.T) {
	dir := t.TempDir()
	whole := written(t, filepath.Join(dir, "whole"), someRecords()...)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	lines = lines[:len(lines)-1]
	path := filepath.Join(dir, "damaged")
	at := 0
	for i, line := range lines[:len(lines)-1] {
		for k := range line {
			data := bytes.Clone(whole)
			data[at+k] ^= 0x01
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			// A line end that is gone joins two lines, the last of which may be torn.
			joinsLast := k == len(line)-1 && i == len(lines)-2
			j, err := OpenJournal(path, ourChain)
			switch want := fmt.Sprintf("line %d is damaged", i+1); {
			case err == nil && joinsLast:
				j.Close()
				continue
			case !errors.Is(err, ErrJournal) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path):
				t.Fatalf("byte %d of line %d changed: open = %v, want ErrJournal, the file and %q", k, i+1, err, want)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(after, data) {
				t.Fatalf("byte %d of line %d changed: the damaged file was written to", k, i+1)
			}
		}
		at += len(line)
	}
}

func TestJournalWithoutAHeaderIsRefused(t *testing.T) {
	dir := t.TempDir()
	whole := written(t, filepath.Join(dir, "whole"), someRecords()...)
	path := filepath.Join(dir, "headless")
	if err := os.WriteFile(path, whole[bytes.IndexByte(whole, '\n')+1:], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(path, ourChain); !errors.Is(err, ErrJournal) || !strings.Contains(err.Error(), "its first record is not a header") {
		t.Errorf("open = %v, want ErrJournal", err)
	}
}

func TestJournalOfANewerVersionIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	written(t, path, someRecords()[0])
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Its checksum is right, but nobody here knows what it means.
	const line = `{"batch":[]}`
	fmt.Fprintf(f, "%08x %s\n", crc32.ChecksumIEEE([]byte(line)), line)
	f.Close()
	if _, err := OpenJournal(path, ourChain); !errors.Is(err, ErrJournal) || !strings.Contains(err.Error(), "line 3 is damaged: it holds no records of this version") {
		t.Errorf("open = %v, want ErrJournal", err)
	}
}

func TestJournalCutToNothingStartsAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := openJournal(t, path)
	first := j.Header().ID
	j.Close()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	j = openJournal(t, path)
	if id := j.Header().ID; id == first || id == "" {
		t.Errorf("its id is %q after %q, want a new one", id, first)
	}
	if err := j.Append(someRecords()...); err != nil {
		t.Fatal(err)
	}
	wantRecords(t, j, someRecords()...)
}

func TestJournalWithATornHeaderStartsAnew(t *testing.T) {
	dir := t.TempDir()
	whole := written(t, filepath.Join(dir, "whole"))
	path := filepath.Join(dir, "torn")
	for n := range whole {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := OpenJournal(path, ourChain)
		if err != nil {
			t.Fatalf("cut after byte %d: %v", n, err)
		}
		wantRecords(t, j)
		j.Close()
	}
}

// A disk that is full writes half a record. The next one must not stand behind
// the half: at the next start that would be damage, and nobody would be paid.
func TestJournalIsWholeAfterTheDiskWasFull(t *testing.T) {
	signal.Ignore(unix.SIGXFSZ) // the limit below sends it
	defer signal.Reset(unix.SIGXFSZ)
	var unlimited unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &unlimited); err != nil {
		t.Fatal(err)
	}
	records := someRecords()
	for _, room := range []int{0, 1, 10, 400, 900} { // bytes; the four records take more
		t.Run(fmt.Sprintf("room for %d bytes", room), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal")
			j := openJournal(t, path)
			if err := j.Append(records[0]); err != nil {
				t.Fatal(err)
			}
			limit := unix.Rlimit{Cur: uint64(j.end) + uint64(room), Max: unlimited.Max}
			if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
				t.Fatal(err)
			}
			err := j.Append(records...)
			if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unlimited); err != nil {
				t.Fatal(err)
			}
			if !errors.Is(err, unix.EFBIG) || !strings.Contains(err.Error(), path) {
				t.Fatalf("append = %v, want EFBIG and the file", err)
			}
			wantRecords(t, j, records[0])
			if err := j.Append(records[3]); err != nil {
				t.Fatal(err)
			}
			wantRecords(t, j, records[0], records[3])
			j.Close()
			wantRecords(t, openJournal(t, path), records[0], records[3])
		})
	}
}

func TestJournalDamagedWhileItIsOpenIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := openJournal(t, path)
	if err := j.Append(someRecords()...); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("!"), j.end-2); err != nil {
		t.Fatal(err)
	}
	if err := j.Replay(func(Record) error { return nil }); !errors.Is(err, ErrJournal) {
		t.Errorf("replay = %v, want ErrJournal", err)
	}
}

func TestReplayEndsWhereItsReaderFails(t *testing.T) {
	j := openJournal(t, filepath.Join(t.TempDir(), "journal"))
	if err := j.Append(someRecords()...); err != nil {
		t.Fatal(err)
	}
	stop, n := errors.New("stop"), 0
	err := j.Replay(func(Record) error {
		if n++; n == 3 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 3 {
		t.Errorf("replay = %v after %d records, want stop after 3", err, n)
	}
}

// FuzzJournal overwrites, cuts and lengthens a journal anywhere. Either it is
// refused, or what is read is the beginning of what was written.
func FuzzJournal(f *testing.F) {
	records := someRecords()
	whole := written(f, filepath.Join(f.TempDir(), "journal"), records...)
	f.Add(0, []byte{}, len(whole))
	f.Add(len(whole)-1, []byte("\x00"), len(whole))
	f.Add(len(whole), []byte("00000000 {}\n"), len(whole)+12)
	f.Add(9, []byte(`{"header":null}`), 500)
	f.Add(200, []byte("\n\n\n"), len(whole))
	f.Fuzz(func(t *testing.T, at int, patch []byte, size int) {
		data := bytes.Clone(whole)
		if at < 0 || at > len(data) || len(patch) > 1<<12 {
			return
		}
		data = append(data[:at:at], append(bytes.Clone(patch), data[min(len(data), at+len(patch)):]...)...)
		if size >= 0 && size < len(data) {
			data = data[:size]
		}
		var got []Record
		end, err := scanJournal(bytes.NewReader(data), "journal", func(r Record) error {
			if r.Header == nil {
				got = append(got, r)
			}
			return nil
		})
		if err != nil {
			if !errors.Is(err, ErrJournal) || end != 0 {
				t.Fatalf("scan = %d, %v, want 0 and ErrJournal", end, err)
			}
			return
		}
		if end > int64(len(data)) || end > 0 && data[end-1] != '\n' {
			t.Fatalf("the last record ends at byte %d of %d, want a line's end", end, len(data))
		}
		if len(got) > len(records) {
			t.Fatalf("read %d records of %d written", len(got), len(records))
		}
		if diff := cmp.Diff(records[:len(got)], got, sameBig); len(got) > 0 && diff != "" {
			t.Errorf("what is read is not what was written (-want +got):\n%s", diff)
		}
	})
}
