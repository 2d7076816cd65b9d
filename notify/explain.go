package notify

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/portreeve/portreeve/lease"
)

// explain says in plain words why a message could not be sent. The texts are translated by patterns where pages show them.
func explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var roots x509.SystemRootsError
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &roots):
		return fmt.Errorf("the system has no list of certificates to trust: install the package ca-certificates (OpenWrt: ca-bundle)")
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate of the other end is of nobody whom this system trusts")
	case errors.As(err, &host):
		return fmt.Errorf("the certificate of the other end is for another name")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("the certificate of the other end has expired, or the clock of the router is wrong")
	case errors.As(err, &invalid):
		return fmt.Errorf("the certificate of the other end cannot be used: %s", clean(invalid))
	case errors.As(err, &dns):
		return fmt.Errorf("the name of the other end is not found: %s", lease.CleanText(dns.Name, 64))
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody listens at the other end")
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return fmt.Errorf("there is no way to the other end: the line may be down")
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("the other end does not answer in time")
	default:
		return fmt.Errorf("it could not be sent: %s", clean(err))
	}
}

// clean makes an error one line without surprises: the other end may have a say in it.
func clean(err error) string { return lease.CleanText(err.Error(), maxShown) }
