// Package kms has the program of the tour that is a KMS plugin: it speaks KMS v2 on a unix socket, with keys of a file.
//
//	kl-engine tour kms /run/kms.sock /run/kms.keys           # serves; the file is made, with a key, if it is missing
//	kl-engine tour kms --rotate /run/kms.sock /run/kms.keys  # adds a key, which a plugin that runs uses from then on
package kms

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	kmsapi "k8s.io/kms/apis/v2"

	"github.com/klkube/kl/cluster/statefile"
	"github.com/klkube/kl/embedded/tour"
)

// Plugin is the KMS plugin.
func Plugin() tour.Program {
	var rotate bool
	return tour.Program{
		Name: "kms", Args: "SOCKET FILE", Short: "is a KMS plugin that encrypts with keys of a file",
		Long: `It speaks KMS v2 on the unix socket. The file has a key a line, an ID and 32 bytes in base64; the last one encrypts, all decrypt.
It is read at each request, and made if it is missing.`,
		Flags: func(fs *pflag.FlagSet) { fs.BoolVar(&rotate, "rotate", false, "add a key to the file and end") },
		Run: func(ctx context.Context, args []string, log *tour.Log) error {
			file := keyFile(args[1])
			if rotate {
				id, err := file.add()
				if err == nil {
					log.Printf("key %s is the new one", id)
				}
				return err
			}
			return serve(ctx, args[0], file, log)
		},
	}
}

// serve serves until ctx is done. A socket that a killed plugin left is replaced.
func serve(ctx context.Context, socket string, file keyFile, log *tour.Log) error {
	if _, err := os.Stat(string(file)); errors.Is(err, fs.ErrNotExist) {
		if _, err := file.add(); err != nil {
			return err
		}
	}
	if _, err := file.keys(); err != nil {
		return err
	}
	if info, err := os.Lstat(socket); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if err := os.Remove(socket); err != nil {
			return err
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return err
	}
	server := grpc.NewServer()
	kmsapi.RegisterKeyManagementServiceServer(server, &service{file: file, log: log})
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	log.Printf("kms listens: unix://%s", socket)
	if err := server.Serve(l); err != nil && ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

// service answers the API server.
type service struct {
	kmsapi.UnimplementedKeyManagementServiceServer

	file keyFile
	log  *tour.Log
}

var _ kmsapi.KeyManagementServiceServer = (*service)(nil)

func (s *service) Status(context.Context, *kmsapi.StatusRequest) (*kmsapi.StatusResponse, error) {
	keys, err := s.file.keys()
	if err != nil {
		return nil, err
	}
	return &kmsapi.StatusResponse{Version: "v2", Healthz: "ok", KeyId: keys[len(keys)-1].id}, nil
}

func (s *service) Encrypt(_ context.Context, r *kmsapi.EncryptRequest) (*kmsapi.EncryptResponse, error) {
	keys, err := s.file.keys()
	if err != nil {
		return nil, err
	}
	k := keys[len(keys)-1]
	nonce := make([]byte, k.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	s.log.Printf("encrypt with %s", k.id)
	return &kmsapi.EncryptResponse{KeyId: k.id, Ciphertext: k.aead.Seal(nonce, nonce, r.GetPlaintext(), []byte(k.id))}, nil
}

func (s *service) Decrypt(_ context.Context, r *kmsapi.DecryptRequest) (*kmsapi.DecryptResponse, error) {
	keys, err := s.file.keys()
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.id != r.GetKeyId() {
			continue
		}
		text := r.GetCiphertext()
		if len(text) < k.aead.NonceSize() {
			return nil, errors.New("the ciphertext is too short")
		}
		n := k.aead.NonceSize()
		plain, err := k.aead.Open(nil, text[:n], text[n:], []byte(k.id))
		if err != nil {
			return nil, err
		}
		s.log.Printf("decrypt with %s", k.id)
		return &kmsapi.DecryptResponse{Plaintext: plain}, nil
	}
	return nil, fmt.Errorf("there is no key %q", r.GetKeyId())
}

type key struct {
	id   string
	aead cipher.AEAD
}

// keyFile is the path of a file of keys.
type keyFile string

func (f keyFile) keys() ([]key, error) {
	data, err := statefile.Read(string(f))
	if err != nil {
		return nil, err
	}
	var keys []key
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		id, text, _ := strings.Cut(line, " ")
		secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if id == "" || err != nil || len(secret) != 32 {
			return nil, fmt.Errorf("%s: line %d is not an ID and 32 bytes in base64", f, i+1)
		}
		block, err := aes.NewCipher(secret)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key{id, aead})
	}
	return keys, nil
}

// add adds a key and returns its ID.
func (f keyFile) add() (string, error) {
	data, err := statefile.Read(string(f))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if len(data) > 0 {
		if _, err := f.keys(); err != nil {
			return "", err
		}
	}
	random := make([]byte, 36)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	id := hex.EncodeToString(random[:4])
	text := strings.TrimLeft(strings.TrimSpace(string(data))+"\n", "\n")
	return id, statefile.Write(string(f), []byte(text+id+" "+base64.StdEncoding.EncodeToString(random[4:])+"\n"), 0o600)
}
