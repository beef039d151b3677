package ethash

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rlp"
)

// vector is a block that a network accepted.
type vector struct {
	name       string
	rules      Rules
	height     uint64
	work       Work
	mix        common.Hash
	final      common.Hash // zero: anything that meets the difficulty
	difficulty *big.Int
}

// headers are whole ones of the Ethereum main net, before its first fork and
// its last before the Merge; their hashes prove that they are.
var headers = []struct {
	hash   string
	header types.Header
}{
	{"0x88e96d4537bea4d9c05d12549907b32561d3bf31f45aae734cdc119f13406cb6", types.Header{
		ParentHash:  common.HexToHash("0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"),
		UncleHash:   types.EmptyUncleHash,
		Coinbase:    common.HexToAddress("0x05a56e2d52c817161883f50c441c3228cfe54d9f"),
		Root:        common.HexToHash("0xd67e4d450343046425ae4271474353857ab860dbc0a1dde64b41b5cd3a532bf3"),
		TxHash:      types.EmptyTxsHash,
		ReceiptHash: types.EmptyReceiptsHash,
		Difficulty:  big.NewInt(17171480576),
		Number:      big.NewInt(1),
		GasLimit:    5000,
		Time:        1438269988,
		Extra:       unhex("476574682f76312e302e302f6c696e75782f676f312e342e32"),
		MixDigest:   common.HexToHash("0x969b900de27b6ac6a67742365dd65f55a0526c41fd18e1b16f1a1215c2e66f59"),
		Nonce:       types.EncodeNonce(0x539bd4979fef1ec4),
	}},
	{"0x55b11b918355b1ef9c5db810302ebad0bf2544255b530cdce90674d5887bb286", types.Header{
		ParentHash: common.HexToHash("0x2b3ea3cd4befcab070812443affb08bf17a91ce382c714a536ca3cacab82278b"),
		UncleHash:  types.EmptyUncleHash,
		Coinbase:   common.HexToAddress("0x829bd824b016326a401d083b33d092293333a830"),
		Root:       common.HexToHash("0x4919dafa6ac8becfbbd0c2808f6c9511a057c21e42839caff5dfb6d3ef514951"),
		TxHash:     common.HexToHash("0xdd5eec02b019ff76e359b09bfa19395a2a0e97bc01e70d8d5491e640167c96a8"),
		Bloom: types.BytesToBloom(unhex("00000400000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000080" +
			"00000000000000000000000800000000000000000000000000000000000000000000000002000000000000000000080000000000400000000000001000000000" +
			"00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000084000000" +
			"00001002000000000000000000000000000000000002000000020000000020000000000000000000000000000000000000000040000000000000000000000000")),
		ReceiptHash: common.HexToHash("0xbaa842cfd552321a9c2450576126311e071680a1258032219c6490b663c1dab8"),
		Difficulty:  big.NewInt(0x27472e1db3626a),
		Number:      big.NewInt(15537393),
		GasLimit:    0x1c9c380,
		GasUsed:     0x1c9a205,
		Time:        0x6322c962,
		Extra:       unhex("e4b883e5bda9e7a59ee4bb99e9b1bc460021"),
		BaseFee:     big.NewInt(0xa1a4e5f06),
		MixDigest:   common.HexToHash("0x4cbec03dddd4b939730a7fe6048729604d4266e82426d472a2b2024f3cc4043f"),
		Nonce:       types.EncodeNonce(0x62a3ee77461d4fc9),
	}},
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// sealHash is the hash of a header without its seal.
func sealHash(h *types.Header) common.Hash {
	fields := []any{h.ParentHash, h.UncleHash, h.Coinbase, h.Root, h.TxHash, h.ReceiptHash, h.Bloom, h.Difficulty, h.Number,
		h.GasLimit, h.GasUsed, h.Time, h.Extra}
	if h.BaseFee != nil {
		fields = append(fields, h.BaseFee)
	}
	b, err := rlp.EncodeToBytes(fields)
	if err != nil {
		panic(err)
	}
	k := newKeccak256()
	k.state.Write(b)
	return common.BytesToHash(k.state.Sum(nil))
}

// vectors are the blocks of the Ethash specification, of Ethereum, and of
// Ethereum Classic before and after ECIP-1099.
func vectors(t *testing.T) []vector {
	vs := []vector{
		{name: "specification, block 22", rules: Ethereum, height: 22,
			work:  Work{common.HexToHash("0x372eca2454ead349c3df0ab5d00b0b706b23e49d469387db91811cee0358fc6d"), 0x495732e0ed7a801c},
			mix:   common.HexToHash("0x2f74cdeb198af0b9abe65d22d372e22fb2d474371774a9583c1cc427a07939f5"),
			final: common.HexToHash("0x00000b184f1fdd88bfd94c86c39e65db0c36144d5e43f745f722196e730cb614")},
		{name: "specification, block 30,001", rules: Ethereum, height: 30001,
			work: Work{common.HexToHash("0x7e44356ee3441623bc72a683fd3708fdf75e971bbe294f33e539eedad4b92b34"), 0x318df1c8adef7e5e},
			mix:  common.HexToHash("0x144b180aad09ae3c81fb07be92c8e6351b5646dda80e6844ae1b697e55ddde84")},
		{name: "Classic, block 10,000,000, before ECIP-1099", rules: Classic, height: 10_000_000,
			work:  Work{common.HexToHash("0xf0518dfafdeff5130e7351d3ca4e67fa27e26cac194cd96a377c47e472279a38"), 3338926542782359739},
			mix:   common.HexToHash("0xeeecef23e81ea2b635fe4ddb1b0a73f672185442c580d7ef3c069269566b9fe6"),
			final: common.HexToHash("0x0000000000014a7c2c3d2266a6085d84d042cd478a9da7af6ddefa81bfb5a3a9")},
		{name: "Classic, block 15,000,000, after it", rules: Classic, height: 15_000_000,
			work:  Work{common.HexToHash("0x7fa7fa6a2b6e60576a78a7aaff610b55c4768959bd280c127b8fe577230e34de"), 5868805625972610829},
			mix:   common.HexToHash("0xd42078e487ac321317e73b98cf8f6f70e5c30bbc38c1cf8d11fc03add955a096"),
			final: common.HexToHash("0x00000000000027443748a4a10344bda95b5c5f3a76a83209ae2a69135f937aa5")},
	}
	for _, h := range headers {
		if got := h.header.Hash().Hex(); got != h.hash {
			t.Fatalf("the header of block %d hashes to %s, want %s", h.header.Number, got, h.hash)
		}
		vs = append(vs, vector{name: fmt.Sprintf("Ethereum, block %d", h.header.Number), rules: Ethereum, height: h.header.Number.Uint64(),
			work: Work{sealHash(&h.header), h.header.Nonce.Uint64()}, mix: h.header.MixDigest, difficulty: h.header.Difficulty})
	}
	return vs
}

func (v vector) check(t *testing.T, d Digest) {
	t.Helper()
	if d.Mix != v.mix {
		t.Errorf("mix %s, want %s", d.Mix, v.mix)
	}
	if v.final != (common.Hash{}) && d.Final != v.final {
		t.Errorf("final %s, want %s", d.Final, v.final)
	}
	if v.difficulty != nil {
		limit := new(big.Int).Lsh(common.Big1, 256)
		if d.Final.Big().Cmp(limit.Div(limit, v.difficulty)) > 0 {
			t.Errorf("final %s does not meet difficulty %d", d.Final, v.difficulty)
		}
	}
}
