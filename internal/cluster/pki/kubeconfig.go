package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig is a kubeconfig file with a client certificate inside. It is the one place where a certificate leaves the process, so
// it lives for a year, and Refresh, called at every start and when it says so, renews it long before.
type Kubeconfig struct {
	Path string
	// Name is that of the cluster and the context; the user is Name-User.
	Name    string
	Server  string // https://HOST:PORT
	Subject Subject
}

// Refresh writes the file unless it already holds a certificate of this authority for the same server and subject with more than a third of
// its life ahead. It returns when to call it again. Files of the same path that hold anything else than this one cluster are not
// touched: an error says so.
func (k Kubeconfig) Refresh(a *Authority, now time.Time) (next time.Time, err error) {
	old, err := clientcmd.LoadFromFile(k.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return time.Time{}, fmt.Errorf("read kubeconfig %s: %w", k.Path, err)
	default:
		for name := range old.Clusters {
			if name != k.Name {
				return time.Time{}, fmt.Errorf("write kubeconfig %s: the file already describes cluster %q; name another file", k.Path, name)
			}
		}
		if next, ok := k.current(a, old, now); ok {
			return next, nil
		}
	}
	text, c, err := k.render(a, now)
	if err != nil {
		return time.Time{}, err
	}
	if err := os.MkdirAll(filepath.Dir(k.Path), 0o700); err != nil {
		return time.Time{}, fmt.Errorf("write kubeconfig %s: %w", k.Path, err)
	}
	if err := writeFile(k.Path, text); err != nil {
		return time.Time{}, fmt.Errorf("write kubeconfig: %w", err)
	}
	return renewal(c.Leaf), nil
}

// renewal is when two thirds of a certificate's life are over.
func renewal(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3)
}

func (k Kubeconfig) current(a *Authority, c *clientcmdapi.Config, now time.Time) (time.Time, bool) {
	cluster, auth := c.Clusters[k.Name], c.AuthInfos[k.Name+"-"+k.Subject.CommonName]
	if cluster == nil || auth == nil || cluster.Server != k.Server || !bytes.Equal(cluster.CertificateAuthorityData, a.Bundle) {
		return time.Time{}, false
	}
	pair, err := tls.X509KeyPair(auth.ClientCertificateData, auth.ClientKeyData)
	if err != nil {
		return time.Time{}, false
	}
	leaf := pair.Leaf
	_, err = leaf.Verify(x509.VerifyOptions{Roots: a.pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	same := fmt.Sprint(leaf.Subject.Organization) == fmt.Sprint(k.Subject.Organizations)
	next := renewal(leaf)
	return next, err == nil && same && now.Before(next)
}

// Render is the kubeconfig's text with a fresh certificate.
func (k Kubeconfig) Render(a *Authority, now time.Time) ([]byte, error) {
	text, _, err := k.render(a, now)
	return text, err
}

func (k Kubeconfig) render(a *Authority, now time.Time) ([]byte, *tls.Certificate, error) {
	c, err := a.Issue(k.Subject, now)
	if err != nil {
		return nil, nil, err
	}
	cert, key, err := EncodePair(c)
	if err != nil {
		return nil, nil, err
	}
	user := k.Name + "-" + k.Subject.CommonName
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[k.Name] = &clientcmdapi.Cluster{Server: k.Server, CertificateAuthorityData: a.Bundle}
	cfg.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	cfg.Contexts[k.Name] = &clientcmdapi.Context{Cluster: k.Name, AuthInfo: user}
	cfg.CurrentContext = k.Name
	text, err := clientcmd.Write(*cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("encode kubeconfig: %w", err)
	}
	return text, c, nil
}
