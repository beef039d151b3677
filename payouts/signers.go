package payouts

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

var (
	// ErrCannotSign reports a signer that can only sign and send in one call.
	ErrCannotSign = errors.New("the node signs only what it sends")
	// ErrSigner reports that no transaction can be signed as things are: the
	// account is locked or unknown, the signer refused, or
	// it signed something else than it was asked to. Nothing was sent.
	ErrSigner = errors.New("cannot sign")
)

// Unsigned is a transaction that wants a signature. Exactly one of GasPrice
// (legacy) and FeeCap with TipCap (EIP-1559) is set.
type Unsigned struct {
	ChainID        uint64
	From, To       common.Address
	Nonce          uint64
	Value          *big.Int // Wei
	Gas            uint64
	GasPrice       *big.Int // Wei per gas
	FeeCap, TipCap *big.Int // Wei per gas
}

func (u Unsigned) transaction() *types.Transaction {
	if u.FeeCap != nil {
		return types.NewTx(&types.DynamicFeeTx{ChainID: new(big.Int).SetUint64(u.ChainID), Nonce: u.Nonce, To: &u.To,
			Value: u.Value, Gas: u.Gas, GasFeeCap: u.FeeCap, GasTipCap: u.TipCap})
	}
	return types.NewTx(&types.LegacyTx{Nonce: u.Nonce, To: &u.To, Value: u.Value, Gas: u.Gas, GasPrice: u.GasPrice})
}

// args is the transaction as a node or an external signer wants it.
func (u Unsigned) args() rpc.TxArgs {
	a := rpc.TxArgs{From: u.From, To: &u.To, Gas: u.Gas, Value: u.Value, Nonce: &u.Nonce, GasPrice: u.GasPrice,
		FeeCap: u.FeeCap, TipCap: u.TipCap}
	if u.FeeCap != nil {
		a.ChainID = new(big.Int).SetUint64(u.ChainID)
	}
	return a
}

// checkSigned decodes what a signer returned and refuses it unless it is the
// transaction that was asked for, to the last field, by the right account.
func checkSigned(u Unsigned, raw []byte) (*types.Transaction, error) {
	tx := new(types.Transaction)
	if err := tx.UnmarshalBinary(raw); err != nil {
		return nil, fmt.Errorf("%w: the signer returned no transaction", ErrSigner)
	}
	chainID := new(big.Int).SetUint64(u.ChainID)
	from, err := types.Sender(types.LatestSignerForChainID(chainID), tx)
	if err != nil {
		return nil, fmt.Errorf("%w: the signature is not valid on chain id %d: %w", ErrSigner, u.ChainID, err)
	}
	want := u.transaction()
	for _, c := range []struct {
		field     string
		got, want any
	}{
		{"sender", from, u.From},
		{"nonce", tx.Nonce(), u.Nonce},
		{"recipient", addressOf(tx.To()), u.To},
		{"value", tx.Value().String(), u.Value.String()},
		{"gas", tx.Gas(), u.Gas},
		{"data", len(tx.Data()), 0},
		{"access list", len(tx.AccessList()), 0},
		{"type", tx.Type(), want.Type()},
		{"fee", tx.GasFeeCap().String(), want.GasFeeCap().String()},
		{"tip", tx.GasTipCap().String(), want.GasTipCap().String()},
		{"replay protection", tx.Protected(), true},
	} {
		if c.got != c.want {
			return nil, fmt.Errorf("%w: the signer changed the %s to %v, want %v", ErrSigner, c.field, c.got, c.want)
		}
	}
	return tx, nil
}

func addressOf(a *common.Address) common.Address {
	if a == nil {
		return common.Address{}
	}
	return *a
}

// NewSigner makes the configured signer. The keystore's password is tried at
// once, so that a wrong one shows at the start.
func NewSigner(cfg SignerConfig, node *rpc.Client, account common.Address) (Signer, error) {
	switch cfg.Type {
	case "keystore":
		return openKeystore(cfg.Keystore, cfg.PasswordFile, account)
	case "external":
		client, err := rpc.New([]string{cfg.URL}, cfg.Timeout.Std())
		if err != nil {
			return nil, fmt.Errorf("payouts.signer.url: %w", err)
		}
		return &externalSigner{client: client, method: cfg.Method}, nil
	default:
		return &nodeSigner{node}, nil
	}
}

// nodeSigner leaves signing to a node that has the account unlocked.
type nodeSigner struct{ node *rpc.Client }

func (s *nodeSigner) Ready(ctx context.Context, account common.Address) error {
	var accounts []common.Address
	if err := s.node.Call(ctx, &accounts, "eth_accounts"); err != nil {
		return fmt.Errorf("ask the node for its accounts: %w", err)
	}
	if !slices.Contains(accounts, account) {
		return fmt.Errorf("%w: the node does not have account %s; import it there, or configure payouts.signer", ErrSigner, account)
	}
	return nil
}

func (s *nodeSigner) Sign(ctx context.Context, tx Unsigned) ([]byte, error) {
	raw, err := s.node.SignTransaction(ctx, tx.args())
	if rpc.IsMethodNotFound(err) {
		return nil, ErrCannotSign
	}
	return raw, signerError(err)
}

// signerError tells a signer's refusal from an answer that never came.
func signerError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpc.ErrUnknown):
		return fmt.Errorf("sign a transaction: %w", err)
	case rpc.Classify(err) == rpc.AccountLocked:
		return fmt.Errorf("%w: the account is locked: %w", ErrSigner, err)
	}
	return fmt.Errorf("%w: %w", ErrSigner, err)
}

// keystoreSigner signs with the key of a go-ethereum keystore file (Web3 Secret
// Storage, version 3).
type keystoreSigner struct {
	key     *ecdsa.PrivateKey
	account common.Address
}

// openKeystore reports a file that does not serve as a util.KeyError: of all signers,
// this one alone is tried before it signs.
func openKeystore(path, passwordFile string, account common.Address) (Signer, error) {
	wrong := func(key, format string, args ...any) (Signer, error) {
		return nil, &util.KeyError{Key: "payouts.signer." + key, Problem: fmt.Sprintf(format, args...)}
	}
	encrypted, err := os.ReadFile(path)
	if err != nil {
		return wrong("keystore", "cannot be read: %v", err)
	}
	password, err := os.ReadFile(passwordFile)
	if err != nil {
		return wrong("passwordFile", "cannot be read: %v", err)
	}
	key, err := decrypt(encrypted, strings.TrimRight(string(password), "\r\n"))
	if errors.Is(err, keystore.ErrDecrypt) {
		return wrong("keystore", "is %s, which the password in %s does not open", path, passwordFile)
	}
	if err != nil {
		return wrong("keystore", "is %s, which is no keystore file that can be read", path)
	}
	if key.Address != account {
		return wrong("keystore", "is %s, which holds account %s; payouts.address is %s", path, key.Address, account)
	}
	return &keystoreSigner{key: key.PrivateKey, account: key.Address}, nil
}

// maxScrypt bounds n times r of a key file's scrypt: 128 bytes each, 2 GiB in
// all. Go-ethereum writes 2^21.
const maxScrypt = 1 << 24

// decrypt opens a key file. The library panics at some that it cannot read.
func decrypt(encrypted []byte, password string) (key *keystore.Key, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("malformed key file")
		}
	}()
	var file struct {
		Crypto struct {
			KDFParams struct {
				N, R float64
			} `json:"kdfparams"`
		} `json:"crypto"`
	}
	if err := json.Unmarshal(encrypted, &file); err != nil {
		return nil, errors.New("malformed key file")
	}
	if k := file.Crypto.KDFParams; k.N*k.R > maxScrypt {
		return nil, errors.New("key file that asks for more memory than there may be")
	}
	return keystore.DecryptKey(encrypted, password)
}

func (s *keystoreSigner) Ready(context.Context, common.Address) error { return nil }

func (s *keystoreSigner) Sign(_ context.Context, u Unsigned) ([]byte, error) {
	tx, err := types.SignTx(u.transaction(), types.LatestSignerForChainID(new(big.Int).SetUint64(u.ChainID)), s.key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSigner, err)
	}
	return tx.MarshalBinary()
}

// externalSigner asks a signer of its own over JSON-RPC: Clef's
// account_signTransaction or Web3Signer's eth_signTransaction.
type externalSigner struct {
	client *rpc.Client
	method string
}

func (s *externalSigner) Ready(context.Context, common.Address) error { return nil }

func (s *externalSigner) Sign(ctx context.Context, u Unsigned) ([]byte, error) {
	var reply json.RawMessage
	if err := s.client.Call(ctx, &reply, s.method, u.args()); err != nil {
		return nil, signerError(err)
	}
	return signedBytes(reply)
}

// signedBytes reads the reply of either signer: Clef answers {raw, tx},
// Web3Signer the bytes alone.
func signedBytes(reply json.RawMessage) ([]byte, error) {
	var raw hexutil.Bytes
	if bytes.HasPrefix(bytes.TrimSpace(reply), []byte("{")) {
		var signed struct {
			Raw hexutil.Bytes `json:"raw"`
		}
		if json.Unmarshal(reply, &signed) != nil {
			return nil, fmt.Errorf("%w: the signer's reply has no raw transaction", ErrSigner)
		}
		raw = signed.Raw
	} else if json.Unmarshal(reply, &raw) != nil {
		return nil, fmt.Errorf("%w: the signer's reply is no transaction", ErrSigner)
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("%w: the signer's reply is empty", ErrSigner)
	}
	return raw, nil
}
