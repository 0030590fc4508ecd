"""When a certificate should be renewed."""

from datetime import datetime

from cryptography import x509


def renewal_due(certificate: x509.Certificate) -> datetime:
    """The moment at which two thirds of its life are over."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin + (end - begin) * 2 / 3
